# Gives this process a control group of its own, below the root of cgroup v2, and goes on in namespaces
# of its own. Arguments: the group's name, the script that goes on, its arguments.
set -e
group=$1
shift
mount --make-rprivate /
mount -t cgroup2 cgroup2 /mnt
mkdir -p "/mnt/$group"
echo $$ >"/mnt/$group/cgroup.procs"
umount /mnt
exec unshare --mount --pid --fork --kill-child --uts --ipc --cgroup /bin/sh "$@"
