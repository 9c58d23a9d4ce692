# shellcheck shell=bash disable=SC2034,SC2154
# What TaskProlog and TaskEpilog share: which tasks of this user's jobs on this node use which volumes.
#
# Below the user's runtime directory:
#   slurm/lock                     held by whoever reads or changes the rest
#   slurm/jobs/JOB/STEP.TASK       "PID START", then one volume a line. It counts while that very process lives
#   slurm/mounted/VOLUME           jobs mounted the volume, and the last one unmounts it
#   slurm/warm.JOB                 held by the task of a job that brings data near
#   slurm/served                   a job started the volume plugin, and the last one stops it

umask 077
job=${SLURM_JOB_ID:-}
task=${SLURM_STEP_ID:-batch}.${SLURM_PROCID:-0}

# Sets `berth`. A site's programs may lie beside these scripts or where no job looks: BERTH_DIRECTORY names the place.
find_berth() {
    local directory
    berth=$(command -v berth) && return
    for directory in "${BERTH_DIRECTORY:-}" "$here" "$here/../../bin" /usr/local/bin /usr/bin; do
        berth=$directory/berth
        [ -x "$berth" ] && return
    done
    return 1
}

# Sets `runtime` as the programs see it: XDG_RUNTIME_DIR is unset in most jobs.
find_runtime() {
    runtime=$("$berth" status --json 2>/dev/null | sed -n 's|.*"pluginSocket" : "\(.*\)/plugin\.sock".*|\1|p')
    [ -n "$runtime" ]
}

# The moment a process started, which tells it from a later one with the same pid.
start_of() {
    local text
    { read -r text <"/proc/$1/stat"; } 2>/dev/null || return
    # shellcheck disable=SC2086
    set -- ${text##*) }
    # A dead process that nobody has waited for does not count.
    case $1 in Z | X) return 1 ;; esac
    echo "${20}"
}

# Makes a directory of ours, and refuses one that somebody else made at a place where all may write.
own_directory() {
    mkdir -p "$1" 2>/dev/null
    [ -d "$1" ] && [ -O "$1" ] && [ ! -L "$1" ]
}

# Descriptor 9 holds the lock until this shell ends. The last task removes the file, so it may be another by then.
lock_jobs() {
    local try
    for try in 1 2 3 4 5 6 7 8; do
        own_directory "$runtime" && own_directory "$runtime/slurm" || return
        exec 9>"$runtime/slurm/lock" || return
        flock -w 60 9 || return
        [ "$runtime/slurm/lock" -ef /proc/self/fd/9 ] && return
    done
    : "$try"
    return 1
}

# Removes records of tasks that live no more: a killed one had no epilog.
sweep_records() {
    local record process start
    for record in "$runtime"/slurm/jobs/*/*; do
        [ -f "$record" ] || continue
        read -r process start <"$record"
        if [ -z "$start" ] || [ "$(start_of "$process")" != "$start" ]; then rm -f "$record"; fi
    done
    rmdir "$runtime"/slurm/jobs/* 2>/dev/null
    for record in "$runtime"/slurm/warm.*; do
        [ -d "$runtime/slurm/jobs/${record##*.}" ] || rm -f "$record"
    done
    return 0
}

is_mounted() { grep -qF "berth:$1 $runtime/host/$1 fuse.berth " /proc/self/mounts; }

# Sends what volumes have staged to their stores, together for so long at most. Slurm's KillWait, 30 s where a site has
# not set it, is what a job has that is out of time. What is left is safe, and sent by the volume's next server.
drain_seconds=${BERTH_DRAIN_SECONDS:-20}

seconds_left() { echo $((drain_until > SECONDS ? drain_until - SECONDS : 0)); }

# Unmounts what no task uses, and after the last task removes every trace. With the word "drain" data goes to the store first.
release_unused() {
    local marker name drain_until=$SECONDS
    [ "${1:-}" = drain ] && drain_until=$((SECONDS + drain_seconds))
    for marker in "$runtime"/slurm/mounted/*; do
        [ -e "$marker" ] || continue
        name=${marker##*/}
        cat "$runtime"/slurm/jobs/*/* 2>/dev/null | grep -qxF -- "$name" && continue
        if is_mounted "$name" && [ "$(seconds_left)" -gt 0 ]; then
            "$berth" sync "$name" --wait --timeout "$(seconds_left)" >/dev/null 2>&1 9>&-
        fi
        if ! "$berth" env --unset --volume "$name" >/dev/null 2>&1 9>&-; then
            # What a task left running keeps what it has open until Slurm ends it.
            "$berth" umount --lazy "$runtime/host/$name" >/dev/null 2>&1 9>&-
            rmdir "$runtime/host/$name" 2>/dev/null
        fi
        is_mounted "$name" || rm -f "$marker"
    done
    rmdir "$runtime/slurm/jobs" 2>/dev/null || [ ! -d "$runtime/slurm/jobs" ] || return 0
    # Servers that something else uses go on.
    if [ -e "$runtime/slurm/served" ]; then "$berth" stop --all --timeout "$(seconds_left)" >/dev/null 2>&1 9>&-; fi
    rm -f "$runtime/slurm/served"
    rmdir "$runtime/slurm/mounted" 2>/dev/null || [ ! -d "$runtime/slurm/mounted" ] || return 0
    rm -f "$runtime/slurm/lock"
    rmdir "$runtime/slurm" 2>/dev/null
    return 0
}
