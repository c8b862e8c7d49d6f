#!/bin/bash
# Three hosts on one machine: a scheduler and client, and two workers behind virtual cables; the
# cable of the second worker is pulled when the program makes the file "pull". Runs inside its own
# namespaces.
python=$1 out=$2 program=$3
mount -t tmpfs none /run 2>/dev/null && mkdir -p /run/netns || { echo CANNOT mount; exit 0; }
ip link add bridge type bridge && ip addr add 10.9.0.1/24 dev bridge && ip link set bridge up &&
  ip link set lo up || { echo CANNOT bridge; exit 0; }
for k in 2 3; do
  ip netns add host$k && ip link add cable$k type veth peer name eth0 netns host$k &&
    ip link set cable$k master bridge && ip link set cable$k up &&
    ip -n host$k addr add 10.9.0.$k/24 dev eth0 && ip -n host$k link set eth0 up &&
    ip -n host$k link set lo up || { echo CANNOT netns; exit 0; }
done
$python -m distributed.cli.dask_scheduler --host 10.9.0.1 --port 8786 --no-dashboard \
  > "$out/scheduler.log" 2>&1 &
sleep 4
for k in 2 3; do
  ip netns exec host$k $python -m distributed.cli.dask_worker tcp://10.9.0.1:8786 --nthreads 1 \
    --no-dashboard --local-directory "$out/worker$k" > "$out/worker$k.log" 2>&1 &
done
sleep 8
(until [ -e "$out/pull" ]; do sleep 0.1; done; ip link set cable3 down; echo "cable pulled") &
$python -c "$program" "$out"
