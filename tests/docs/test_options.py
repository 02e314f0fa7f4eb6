# SPDX-License-Identifier: GPL-3.0-or-later
"""--help, the man page and the option table say the same; includes follow the arrows."""
import os
import re
import subprocess

import pytest

TOP = os.path.join(os.path.dirname(__file__), "..", "..")


def read(name):
    with open(os.path.join(TOP, name)) as f:
        return f.read()


def table():
    """name -> default, from the table in options.c."""
    rows = re.findall(r'^\t\{ "(\w+)", (\w+), AT\(\w+\), (NULL|"[^"]*"),', read("fs/options.c"), re.M)
    assert len(rows) > 25
    return {name: (kind, default.strip('"')) for name, kind, default in rows}


def help_text():
    return subprocess.run([os.environ["TARDIGRADEFS_BIN"], "--help"], capture_output=True,
                          text=True, check=True, timeout=10).stdout


@pytest.mark.parametrize("name", sorted(table()))
def test_option_is_in_help_and_manual(name):
    kind, default = table()[name]
    line = next((x for x in help_text().splitlines() if re.match(rf"  {name}(=|\s)", x)), None)
    assert line, f"--help does not name {name}"
    page = read("man/tardigradefs.1")
    assert re.search(rf"^\.It Cm .*\b{name}\b|^\.It Cm .*, {name}\b", page, re.M), name
    if default != "NULL" and kind != "FLAG":
        assert f"[{default}]" in line
        about = page.split(f".It Cm {name}", 1)[1].split("\n.It", 1)[0]
        assert f"Default: {default}" in about, f"{name}: {about}"


def test_manual_names_no_other():
    known = set(table()) | {"allow_other", "ro"}
    named = set(re.findall(r"^\.It Cm (\w+)", read("man/tardigradefs.1"), re.M))
    assert named <= known, named - known


def test_manual_is_clean():
    lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning",
                           os.path.join(TOP, "man/tardigradefs.1")],
                          capture_output=True, text=True, timeout=10, check=False)
    assert lint.stdout.strip() == ""


def test_exit_statuses_are_in_the_manual():
    statuses = re.findall(r"\tEXIT_\w+ = (\d)", read("fs/supervisor.h"))
    assert len(statuses) == 8
    page = read("man/tardigradefs.1").split(".Sh EXIT STATUS")[1].split(".Sh")[0]
    assert re.findall(r"^\.It (\d)", page, re.M) == statuses


# -- the arrows: programs -> core -> {fs/s3, cache} -> base --

FUSE_FILES = {"channel", "main", "mountargs", "notify", "op", "ops", "options", "session",
              "supervisor", "worker"}
MAY = {
    "base": {"base"},
    "cache": {"base", "cache"},
    "fs/s3": {"base", "fs/s3"},
    "fs": {"base", "cache", "fs/s3", "fs"},
}


def sources():
    for folder in MAY:
        for name in sorted(os.listdir(os.path.join(TOP, folder))):
            if name.endswith((".c", ".h")):
                yield folder, name


@pytest.mark.parametrize("folder,name", list(sources()))
def test_includes_follow_the_arrows(folder, name):
    text = read(f"{folder}/{name}")
    stem = name[:-2]
    for included in re.findall(r'^#include "([^"]+)"', text, re.M):
        target = os.path.dirname(included)
        assert target in MAY[folder], f"{folder}/{name} includes {included}"
        if folder == "fs" and stem not in FUSE_FILES:
            used = os.path.basename(included)[:-2]
            assert not (target == "fs" and used in FUSE_FILES), f"{name} includes {included}"
    for library in re.findall(r"^#include <([^>]+)>", text, re.M):
        if "fuse" in library:
            assert folder == "fs" and stem in FUSE_FILES, f"{folder}/{name} includes {library}"
        if library.startswith(("curl/", "libxml/")):
            assert folder == "fs/s3", f"{folder}/{name} includes {library}"
        if library.startswith("sqlite3"):
            assert folder == "cache", f"{folder}/{name} includes {library}"
