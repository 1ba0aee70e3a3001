#!/usr/bin/env bash
# The first process of a node's namespaces: gives it mounts and a network of its own, and then runs what it was told to.
# Nothing of it is seen from outside but the files below its folder.
#
# usage: init.sh FOLDER NAME ADDRESS SERVICES PROGRAM [ARGUMENT]...
set -euo pipefail
folder=$1 name=$2 address=$3 services=$4
shift 4
cd "$folder"
hostname "$name"

mount --make-rprivate /
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /sys/fs/cgroup
while IFS=: read -r _ controllers _; do
  [ -n "$controllers" ] || continue
  mkdir "/sys/fs/cgroup/${controllers#name=}"
  mount -t cgroup -o "$controllers" cgroup "/sys/fs/cgroup/${controllers#name=}"
done < /proc/self/cgroup
mount -t tmpfs tmpfs /run
mkdir /run/lock
mount -t tmpfs tmpfs /var/log
# kubelet and the CNI plugins have paths below /var/lib that cannot be set.
mkdir var-lib var-lib.work kubelet sysctl
mount -t overlay -o "lowerdir=/var/lib,upperdir=$folder/var-lib,workdir=$folder/var-lib.work" overlay /var/lib
mount --bind kubelet kubelet
mount --make-rshared kubelet
# kubelet sets what is the whole kernel's: it gets files of its own instead.
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
  kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  file=sysctl/${setting//\//.}
  echo "${setting#*=}" > "$file"
  mount --bind "$file" "/proc/sys/${setting%=*}"
done
printf '127.0.0.1 localhost\n%s %s\n' "$address" "$name" > hosts
: > resolv.conf
mount --bind hosts /etc/hosts
mount --bind resolv.conf /etc/resolv.conf

ip link set lo up
ip link add node0 type veth peer name node0p
ip link set node0 up
ip link set node0p up
ip address add "$address/24" dev node0
ip route add "$services" dev node0 src "$address"
echo 1 > /proc/sys/net/ipv4/ip_forward

# Not exec: the first process has to wait for those that lose their parents, and a shell does.
exec 3<&0
"$@" <&3 3<&- &
exec 3<&-
wait $!
