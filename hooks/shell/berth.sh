# Makes plain `apptainer exec`, `singularity exec` and `ch-run` show the volumes of the path map. For interactive
# shells and for scripts that source it: ~/.bashrc, ~/.zshrc, ~/.profile, or /etc/profile.d of a site.
#
# It defines three functions and changes nothing else. Without `berth` in PATH, or where no volume has a path, the
# programs run as they are. Where a volume cannot be had, the container does not start and the message says why.

_berth_with() {
    if command -v berth >/dev/null 2>&1; then
        command berth run --optional -- "$@"
    else
        command "$@"
    fi
}

# Only what starts a container needs the volumes.
_berth_apptainer() {
    local program=$1 word
    shift
    for word in "$@"; do
        case $word in
        exec | run | shell | test | instance) _berth_with "$program" "$@"; return ;;
        -*) ;;
        *) break ;;
        esac
    done
    command "$program" "$@"
}

apptainer() { _berth_apptainer apptainer "$@"; }
singularity() { _berth_apptainer singularity "$@"; }
# A hyphen in a function's name is more than POSIX promises; bash and zsh take it.
if [ -n "${BASH_VERSION:-}${ZSH_VERSION:-}" ]; then
    eval 'ch-run() { _berth_with ch-run "$@"; }'
fi
