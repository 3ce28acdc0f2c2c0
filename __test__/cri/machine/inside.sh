#!/bin/sh
# The first process of a machine of its own: prepares what its namespaces show, then runs a command to its end.
set -eu

# As on any machine with systemd. What is mounted from here on is seen in these namespaces alone.
mount --make-rshared /
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock "$TMPDIR"
# It may be a link to a file in the former /run.
[ -e /etc/resolv.conf ] || install -D /dev/null "$(readlink -m /etc/resolv.conf)"
ip link set lo up

# The cgroups of this machine's own, where the whole machine's are.
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  # A cgroup with processes cannot give controllers to others.
  mkdir -p /sys/fs/cgroup/init
  while read -r pid; do echo "$pid" > /sys/fs/cgroup/init/cgroup.procs || true; done < /sys/fs/cgroup/cgroup.procs
  for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" > /sys/fs/cgroup/cgroup.subtree_control || true
  done
else
  mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
  while IFS=: read -r _ controllers _; do
    folder=/sys/fs/cgroup/${controllers:-unified}
    folder=/sys/fs/cgroup/$(basename "$folder" | sed 's/^name=//')
    mkdir "$folder"
    case $controllers in
      "") mount -t cgroup2 cgroup2 "$folder" ;;
      *) mount -t cgroup -o "$controllers" cgroup "$folder" ;;
    esac
  done < /proc/self/cgroup
fi

# Not exec: this shell also waits for processes that others leave.
"$@" &
wait $!
