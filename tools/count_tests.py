"""Adds up the JUnit files of a folder, names what failed, and ends with the line that counts. Exits 1 if anything failed.

    count_tests.py FOLDER [FAILED_STEP...]

A step that failed without a failed test (a build, a crash of the runner) counts as one failure.
"""
import sys
import xml.etree.ElementTree as xml
from pathlib import Path


def main() -> int:
    folder, failed_steps = Path(sys.argv[1]), sys.argv[2:]
    passed = skipped = 0
    failures: list[str] = []
    for path in sorted(folder.glob("*.xml")):
        for case in xml.parse(path).iter("testcase"):
            name = f"{path.stem}: {case.get('name')}"
            if case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail":
                failures.append(name)
            elif case.find("skipped") is not None or case.get("status") == "notrun":
                skipped += 1
            else:
                passed += 1
    for name in failures:
        print("failed", name)
    for step in failed_steps:
        print("failed step:", step)
    failed = max(len(failures), len(failed_steps))
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


sys.exit(main())
