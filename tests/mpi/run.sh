#!/usr/bin/env bash
# Runs a command on several ranks of this host, more than it has CPUs if need be. Ends with 77 where MPI is not installed.
#
#   tests/mpi/run.sh -n RANKS COMMAND...
set -euo pipefail
if ! command -v mpirun > /dev/null; then
  echo "skipped: mpirun is not installed; run tools/setup.sh" >&2
  exit 77
fi
# Without a name in the environment, Open MPI refuses to run as root, which containers do.
exec env OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun --oversubscribe --bind-to none "$@"
