#%Module1.0
## Berth for Environment Modules 4 and later. Copy it to a directory of MODULEPATH, as berth or berth/VERSION.
## Where the programs are not found beside it, name their directory here:
set programs ""

proc ModulesHelp {} {
    puts stderr "Puts berth in PATH, serves the volume plugin for podman, and shows the volumes that have a path"
    puts stderr "(berth path ls) in Apptainer, Singularity and Charliecloud. Unloading takes PATH and mounts back; the"
    puts stderr "plugin goes on until \"berth stop\", as other shells may use it."
}
module-whatis "volumes at the same path in every container, without root"
conflict berth

foreach place [list $programs [file dirname [file normalize $ModulesCurrentModulefile]]/../bin \
        [file dirname [file normalize $ModulesCurrentModulefile]]/../../bin \
        [file dirname [file normalize $ModulesCurrentModulefile]]/../../../bin /usr/local/bin /usr/bin] {
    if {$place ne "" && [file executable $place/berth]} { set directory [file normalize $place]; break }
}
if {![info exists directory]} {
    puts stderr "berth: its programs are not found; set \"programs\" in $ModulesCurrentModulefile"
    break
}

# What berth prints for a shell, as a list of names and values; a variable without a value is unset.
proc variables {text} {
    set result {}
    foreach line [split $text \n] {
        if {[regexp {^export ([A-Z_]+)=(.*)$} $line -> name value]} {
            lappend result [list $name $value]
        } elseif {[regexp {^unset ([A-Z_]+)$} $line -> name]} {
            lappend result [list $name]
        }
    }
    return $result
}

if {[module-info mode load]} {
    # No volume with a path yet is no error: the command is what makes one.
    if {[catch {exec $directory/berth path ls --json} paths]} { puts stderr $paths; break }
    if {[catch {exec $directory/berth serve --detach} text]} { puts stderr $text; break }
    if {[string first "\{" $paths] >= 0} {
        if {[catch {exec $directory/berth env --shell plain} text]} { puts stderr $text; break }
        foreach pair [variables $text] {
            if {[llength $pair] == 2} { setenv [lindex $pair 0] [lindex $pair 1] } else { unsetenv [lindex $pair 0] }
        }
    }
} elseif {[module-info mode unload]} {
    # A mount in use stays, and is named; the variables go in any case.
    catch {exec $directory/berth env --unset --shell plain 2>@stderr} text
    foreach pair [variables $text] {
        # Commands are undone here: setenv unsets, and unsetenv with a value sets it.
        if {[llength $pair] == 2} { unsetenv [lindex $pair 0] [lindex $pair 1] } else { setenv [lindex $pair 0] "" }
    }
}
prepend-path PATH $directory
