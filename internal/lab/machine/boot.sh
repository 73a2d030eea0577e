# Boots systemd as the first process of these namespaces. Arguments: the image, which stays as it is,
# and the directory of the machine's own disk.
set -e
image=$1 disk=$2
root=$disk/root
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$image,upperdir=$disk/changes,workdir=$disk/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/mqueue"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for device in null zero full random urandom tty; do
	touch "$root/dev/$device"
	mount --bind "/dev/$device" "$root/dev/$device"
done
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
cd "$root"
mkdir -p outside
pivot_root . outside
umount -l /outside
rmdir /outside
mount --make-rshared / # as systemd finds it on real machines; credentials need it
exec env -i container=lab PATH=/usr/sbin:/usr/bin /lib/systemd/systemd
