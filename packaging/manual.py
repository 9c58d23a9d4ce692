#!/usr/bin/env python3
"""Writes a program's manual page, from what the program itself says of its commands.

usage: PROGRAM --experimental-dump-help | manual.py VERSION DATE TAIL.roff >PROGRAM.1
"""

import json
import sys


def text(words):
    """Running text: no line of it is a request, and backquotes become bold."""
    parts = escaped(words).split("`")
    joined = "".join(rf"\fB{part}\fR" if index % 2 else part for index, part in enumerate(parts))
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in joined.split("\n"))


def escaped(words):
    return words.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")


def shown(items):
    return [item for item in items if item.get("shouldDisplay", True)]


def own_arguments(command):
    """Less those that every command has."""
    return [argument for argument in shown(command.get("arguments", [])) if argument["valueName"] not in ("help", "version")]


def spelling(name):
    return escaped(("--" if name["kind"] == "long" else "-") + name["name"])


def value(argument):
    # A value that shows its own form, as name[:/path], is left as it is.
    word = argument["valueName"]
    return rf"\fI{escaped(word if ':' in word else word.upper())}\fR"


def names(argument):
    """How an argument is typed, in all its spellings."""
    if argument["kind"] == "positional":
        return value(argument)
    words = ", ".join(rf"\fB{spelling(name)}\fR" for name in argument["names"])
    return words if argument["kind"] == "flag" else f"{words} {value(argument)}"


def usage(argument):
    """How an argument stands in the synopsis."""
    if argument["kind"] == "positional":
        words = value(argument)
    else:
        words = rf"\fB{spelling(argument['preferredName'])}\fR"
        if argument["kind"] == "option":
            words += " " + value(argument)
    if argument["parsingStrategy"] == "postTerminator":
        return rf"\-\- {words}..."
    if argument["isOptional"]:
        words = f"[{words}]"
    return words + ("..." if argument["isRepeating"] else "")


def synopsis(command):
    path = " ".join(command.get("superCommands", []) + [command["commandName"]])
    return " ".join([rf"\fB{escaped(path)}\fR"] + [usage(argument) for argument in own_arguments(command)])


def leaves(command):
    """Every command that does something, in the order in which help lists them."""
    below = [part for part in shown(command.get("subcommands", [])) if part["commandName"] != "help"]
    return [leaf for part in below for leaf in leaves(part)] if below else [command]


def describe(command):
    yield f".SS {synopsis(command)}"
    yield text(command.get("abstract", ""))
    if command.get("discussion"):
        yield ".PP"
        yield text(command["discussion"])
    for argument in own_arguments(command):
        yield ".TP"
        yield names(argument)
        yield text(argument.get("abstract", "") or "See above.")


def page(command, version, date, tail):
    name = command["commandName"]
    abstract = command["abstract"].rstrip(".")
    yield f'.TH {name.upper()} 1 "{date}" "Berth {escaped(version)}" "User Commands"'
    yield ".SH NAME"
    yield rf"{name} \- {text(abstract[:1].lower() + abstract[1:])}"
    yield ".SH SYNOPSIS"
    yield rf"\fB{name}\fR \fICOMMAND\fR [\fIARGUMENT\fR]..."
    if command.get("defaultSubcommand"):
        default = next(part for part in command["subcommands"] if part["commandName"] == command["defaultSubcommand"])
        yield ".br"
        yield rf"\fB{name}\fR " + " ".join(usage(argument) for argument in own_arguments(default))
    yield ".SH COMMANDS"
    yield r"Each answers \fB\-h\fR and \fB\-\-help\fR."
    for leaf in leaves(command):
        yield from describe(leaf)
    yield tail.rstrip("\n")


def main():
    version, date, tail = sys.argv[1:]
    with open(tail, encoding="utf-8") as file:
        ending = file.read()
    lines = "\n".join(page(json.load(sys.stdin)["command"], version, date, ending))
    # groff without a preprocessor reads ASCII alone.
    print("".join(letter if letter.isascii() else f"\\[u{ord(letter):04X}]" for letter in lines))


main()
