-- Berth for Lmod. Copy it to a directory of MODULEPATH, as berth.lua or berth/VERSION.lua.
-- Where the programs are not found beside it, name their directory here:
local programs = ""

help([[Puts berth in PATH, serves the volume plugin for podman, and shows the volumes that have a path
(berth path ls) in Apptainer, Singularity and Charliecloud. Unloading takes PATH and mounts back; the
plugin goes on until "berth stop", as other shells may use it.]])
whatis("volumes at the same path in every container, without root")
conflict("berth")

local beside = myFileName():match("^(.*)/[^/]*$") or "."
local directory
for _, place in ipairs({
    programs, beside .. "/../bin", beside .. "/../../bin", beside .. "/../../../bin", "/usr/local/bin", "/usr/bin",
}) do
    local folded = 1
    while folded > 0 do
        place, folded = place:gsub("/[^/]+/%.%.", "", 1)
    end
    if place ~= "" and isFile(place .. "/berth") then
        directory = place
        break
    end
end
if not directory then
    LmodError("berth: its programs are not found; set \"programs\" in " .. myFileName())
end

local berth = "'" .. directory:gsub("'", "'\\''") .. "/berth'"

-- What a command prints, its errors among it, and whether it succeeded.
local function output(words)
    local text = capture(berth .. " " .. words .. " 2>&1; echo status=$?")
    return text:gsub("status=%d+%s*$", ""), text:match("status=0%s*$") ~= nil
end

local function succeed(words)
    local text, succeeded = output(words)
    if not succeeded then
        LmodError(text)
    end
    return text
end

-- Each shell evaluates what `berth env` prints in its own words.
local shell = myShellType()
local dialect = (shell == "csh" or shell == "fish") and shell or "sh"
local function evaluate(words, mode)
    local command = berth .. " env " .. words .. "--shell " .. dialect
    execute({ cmd = dialect == "fish" and command .. " | source" or 'eval "$(' .. command .. ')"', modeA = { mode } })
end
if shell == "csh" then
    evaluate = function(words, mode)
        execute({ cmd = "eval `" .. berth .. " env " .. words .. "--shell csh`", modeA = { mode } })
    end
end

if mode() == "load" then
    -- No volume with a path yet is no error: the command is what makes one.
    local paths = succeed("path ls --json")
    succeed("serve --detach")
    if paths:find("{", 1, true) then
        -- Tried first, so that a volume that cannot be had fails the load.
        succeed("env")
        evaluate("", "load")
    end
end
-- A mount in use stays, and is named; the variables go in any case.
evaluate("--unset ", "unload")
prepend_path("PATH", directory)
