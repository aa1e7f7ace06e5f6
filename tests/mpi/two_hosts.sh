#!/usr/bin/env bash
# Runs a command on ranks of two simulated hosts: network namespaces with their own names and addresses, joined by a cable, so that ranks of
# different hosts meet by TCP alone. Ranks are dealt out host by host, the first half to the first one. Ends with 77 and says why where
# this is not allowed; leaves nothing behind.
#
#   tests/mpi/two_hosts.sh -n RANKS COMMAND...
set -euo pipefail
if [[ ${1:-} != -n || $# -lt 3 ]]; then
  echo "two_hosts: use tests/mpi/two_hosts.sh -n RANKS COMMAND..." >&2
  exit 2
fi
readonly ranks=$2
shift 2

skip() {
  echo "skipped: $1" >&2
  exit 77
}
command -v mpirun > /dev/null || skip "mpirun is not installed; run tools/setup.sh"
command -v ip > /dev/null || skip "ip is not installed; install iproute2"
[[ $(id -u) == 0 ]] || skip "network namespaces need root"
unshare --net --uts true 2> /dev/null || skip "network namespaces are not permitted here (CAP_SYS_ADMIN)"

readonly first=intaglio-$$-a second=intaglio-$$-b
folder=$(mktemp -d)
cleanup() {
  local host pid
  for host in "$first" "$second"; do
    for pid in $(ip netns pids "$host" 2> /dev/null); do kill -KILL "$pid" 2> /dev/null || true; done
    ip netns delete "$host" 2> /dev/null || true   # and its end of the cable
  done
  rm -rf "$folder"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# A host's name decides what Open MPI takes for one machine.
cat > "$folder/on_host" << 'AGENT'
#!/usr/bin/env bash
# on_host ADDRESS COMMAND...: what ssh would do, joining the words as it does.
case $1 in
  10.111.0.1) host=$FIRST_HOST ;;
  *) host=$SECOND_HOST ;;
esac
shift
exec ip netns exec "$host" unshare --uts bash -c 'hostname "$0"; eval "exec $*"' "$host" "$@"
AGENT
chmod +x "$folder/on_host"
export FIRST_HOST=$first SECOND_HOST=$second

ip netns add "$first" 2> "$folder/log" || skip "network namespaces are not permitted here: $(cat "$folder/log")"
ip netns add "$second"
ip -n "$first" link add cable type veth peer name cable netns "$second" 2> "$folder/log" || skip "no veth here: $(cat "$folder/log")"
ip -n "$first" address add 10.111.0.1/24 dev cable
ip -n "$second" address add 10.111.0.2/24 dev cable
for host in "$first" "$second"; do
  ip -n "$host" link set lo up
  ip -n "$host" link set cable up
done

printf '10.111.0.1 slots=%d\n10.111.0.2 slots=%d\n' $(((ranks + 1) / 2)) $(((ranks + 1) / 2)) > "$folder/hosts"
options=(--allow-run-as-root --hostfile "$folder/hosts" --map-by slot --bind-to none -n "$ranks"
         --mca plm rsh --mca plm_rsh_agent "$folder/on_host" --mca oob_tcp_if_include cable --mca btl_tcp_if_include cable)
# A copy in the environment, for ip netns exec and unshare keep it: mpirun is on the first host.
printf -v command '%q ' mpirun "${options[@]}" "$@"
"$folder/on_host" 10.111.0.1 "$command"
