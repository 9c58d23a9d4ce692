#!/usr/bin/env bash
# Starts a real Slurm of one node on loopback, for the tests: its own key, sockets and ports, all below one directory.
# Run as root. Prints the path of slurm.conf, for SLURM_CONF of whoever submits jobs.
#
# usage: start-slurm.sh DIRECTORY HOOKS     HOOKS holds TaskProlog, TaskEpilog and Epilog
#        start-slurm.sh --stop DIRECTORY    cancels its jobs and ends it, by pid
set -euo pipefail

usage="usage: start-slurm.sh DIRECTORY HOOKS | --stop DIRECTORY"
[ "$(id -u)" = 0 ] || { echo "start-slurm: this needs root" >&2; exit 77; }

end() {
    local pid
    pid=$(cat "$1" 2>/dev/null) || return 0
    # A later process may have the pid.
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ] || return 0
    kill "${3:--TERM}" "$pid" 2>/dev/null || return 0
    for _ in $(seq 100); do [ -e "/proc/$pid" ] || return 0; sleep 0.1; done
    kill -KILL "$pid" 2>/dev/null || true
}

stop() {
    local directory=$1
    export SLURM_CONF=$directory/slurm.conf
    if [ -n "$(timeout 10 squeue -h 2>/dev/null)" ]; then
        timeout 10 squeue -h -o %i | xargs -r timeout 10 scancel || true
        for _ in $(seq 100); do [ -n "$(timeout 10 squeue -h 2>/dev/null)" ] || break; sleep 0.1; done
    fi
    end "$directory/slurmd.pid" slurmd
    end "$directory/slurmctld.pid" slurmctld
    end "$directory/munged.pid" munged
}

if [ "${1:-}" = --stop ]; then
    stop "${2:?"$usage"}"
    exit 0
fi
directory=${1:?"$usage"}
hooks=${2:?"$usage"}
for program in munged slurmctld slurmd; do
    command -v "$program" >/dev/null || { echo "start-slurm: $program is missing" >&2; exit 69; }
done

mkdir -p "$directory"
chmod 0755 "$directory"
install -d -m 0700 "$directory/key"
install -d -m 0755 "$directory"/{munge,state,spool}
head -c 128 /dev/urandom >"$directory/key/munge.key"
chmod 0400 "$directory/key/munge.key"

free_port() {
    local port
    for _ in $(seq 100); do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}

host=$(hostname -s)
cat >"$directory/slurm.conf" <<END
ClusterName=berth
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$directory/munge/socket
CredType=cred/munge
StateSaveLocation=$directory/state
SlurmdSpoolDir=$directory/spool
SlurmctldPidFile=$directory/slurmctld.pid
SlurmdPidFile=$directory/slurmd.pid
SlurmctldLogFile=$directory/slurmctld.log
SlurmdLogFile=$directory/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
ReturnToService=2
PrologFlags=Alloc
KillWait=1
OverTimeLimit=0
MinJobAge=300
InactiveLimit=0
TaskProlog=$hooks/TaskProlog
TaskEpilog=$hooks/TaskEpilog
Epilog=$hooks/Epilog
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=berth Nodes=$host Default=YES MaxTime=10 OverSubscribe=FORCE:8 State=UP
END

give_up() {
    echo "start-slurm: $1; see $directory/*.log" >&2
    stop "$directory"
    exit 70
}

munged --key-file="$directory/key/munge.key" --socket="$directory/munge/socket" --pid-file="$directory/munged.pid" \
    --log-file="$directory/munged.log" --seed-file="$directory/munged.seed" --num-threads=2 --force 2>/dev/null ||
    give_up "munged does not start"
export SLURM_CONF=$directory/slurm.conf
slurmctld -c -f "$SLURM_CONF" >/dev/null 2>&1 || give_up "slurmctld does not start"
slurmd -f "$SLURM_CONF" >/dev/null 2>&1 || give_up "slurmd does not start"
for _ in $(seq 1200); do
    if [ "$(timeout 5 sinfo -h -o %t 2>/dev/null)" = idle ]; then echo "$SLURM_CONF"; exit 0; fi
    sleep 0.1
done
give_up "the node is not idle after two minutes"
