# SPDX-License-Identifier: Apache-2.0
"""The rules of the house that a program can check. RULES, at the end, is the
table; a rule is a function that yields (path, line, what is wrong)."""

import hashlib
import json
import re

from source import public_functions

# Which room a file is in: the longest prefix decides.
ROOMS = {
    "agent/base/": "base",
    "agent/sys/": "sys",
    "agent/baseline/": "baseline",
    "agent/core/": "core",
    "agent/warden/": "warden",
    "agent/eval/": "eval",
    "agent/horizon/": "horizon",
    "agent/cli/": "cli",
    "agent/gateway/": "gateway",
    "agent/": "shell",
    "qmp/": "qmp",
    "netshape/": "netshape",
    "bpf/": "bpf",
    "tests/": "tests",
    "bench/": "bench",
}

# Whom each room may know besides itself. Tests and benches know everybody.
KNOWS = {
    "base": set(),
    "sys": {"base"},
    "core": {"base"},
    "qmp": {"base", "sys"},
    "netshape": {"base", "sys"},
    "baseline": {"base", "sys"},
    "warden": {"base", "sys", "baseline"},
    "shell": {"base", "sys", "core", "horizon", "qmp", "netshape", "baseline",
              "bpf"},
    "eval": {"base", "core"},
    "horizon": {"base"},
    "cli": {"base", "sys", "core", "shell", "baseline", "eval"},
    "gateway": {"base", "sys"},
    "bpf": set(),
    "tests": set(ROOMS.values()),
    "bench": set(ROOMS.values()),
}

DOCUMENTED_ROOMS = {"core", "qmp", "netshape"}
LINES_MAX = 600
COLUMNS_MAX = 80
BPF_COLUMNS_MAX = 100  # kernel style: scripts/checkpatch.pl, max_line_length


def room_of(path):
    prefixes = [prefix for prefix in ROOMS if path.startswith(prefix)]
    return ROOMS[max(prefixes, key=len)] if prefixes else None


def c_files(tree):
    return [file for file in tree.files if file.is_c]


def in_rooms(tree, rooms):
    return [file for file in c_files(tree) if room_of(file.path) in rooms]


# --- Who may know whom --------------------------------------------------------

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:<([^>]+)>|"([^"]+)")',
                     re.M)


def included_room(header, own_room):
    """The room of an include, None when it is not one of ours."""
    if header.endswith(".skel.h"):
        return "bpf"  # generated from there
    return room_of(header) or (own_room if "/" not in header else None)


def rooms(tree):
    for file in c_files(tree):
        own = room_of(file.path)
        for line, match in file.find(INCLUDE, file.text):
            header = match[1] or match[2]
            if ".." in header.split("/"):
                yield file.path, line, f"{header}: name it from the top"
                continue
            other = included_room(header, own if match[2] else None)
            if own and other and other != own and other not in KNOWS[own]:
                yield file.path, line, f"{own} may not know {other}: {header}"


# --- Core is pure -------------------------------------------------------------

CORE_HEADERS = re.compile(
    r"(unistd\.h|fcntl\.h|pthread\.h|time\.h|stdio\.h|errno\.h|sys/.*|linux/.*"
    r"|thread|mutex|shared_mutex|condition_variable|future|semaphore"
    r"|stop_token|iostream|ostream|istream|fstream|sstream|cstdio|ctime|cerrno"
    r"|filesystem|random|locale|unordered_map|unordered_set"
    r"|spdlog/.*|fmt/.*|jansson\.h|yaml-cpp/.*|bpf/.*)"
)
# libm picks its variants per CPU; sqrt, fma and rounding are exact everywhere.
LIBM = (
    "exp|exp2|expm1|log|log2|log10|log1p|pow|cbrt|hypot|sin|cos|tan|asin|acos"
    "|atan|atan2|sinh|cosh|tanh|asinh|acosh|atanh|erf|erfc|tgamma|lgamma"
)
CORE_CALLS = re.compile(
    r"::\s*now\s*\(|\bspdlog\s*::|\bunordered_(?:multi)?(?:map|set)\s*<"
    r"|\bthread_local\b|\bvolatile\b|\brandom_device\b"
    r"|(?<![\w.>])(?:std\s*::\s*)?\b(?:"
    r"[fs]?n?printf|puts|getenv|s?rand|random|clock_gettime|gettimeofday"
    r"|clock|usleep|nanosleep|sleep|syscall|abort|exit"
    rf"|(?:{LIBM})[fl]?)\s*\("
    r"|(?<![\w.>])(?:std\s*::\s*)?\btime\s*\(\s*(?:nullptr|NULL|0|&)"
)


def core_headers(tree):
    for file in in_rooms(tree, {"core"}):
        for line, match in file.find(INCLUDE, file.text):
            header = match[1] or match[2]
            if CORE_HEADERS.fullmatch(header):
                yield file.path, line, f"core is pure: no <{header}>"


def core_calls(tree):
    for file in in_rooms(tree, {"core"}):
        for line, match in file.find(CORE_CALLS):
            call = match[0].rstrip("( ")
            yield file.path, line, f"core is pure: no '{call}'"


# --- One way to fail ----------------------------------------------------------

THROW = re.compile(r"\bthrow\b")
DYNAMIC_CAST = re.compile(r"\bdynamic_cast\b")
NDEBUG = re.compile(r"\bD?NDEBUG\b")
BUILD_TYPES_WITHOUT_ASSERT = {"Release", "RelWithDebInfo", "MinSizeRel"}


def no_throw(tree):
    for file in c_files(tree):
        for line, _ in file.find(THROW):
            yield file.path, line, "no exceptions of our own: return Result<T>"


def no_dynamic_cast(tree):
    for file in c_files(tree):
        for line, _ in file.find(DYNAMIC_CAST):
            yield file.path, line, "no dynamic_cast: a closed set is a variant"


def asserts_stay_on(tree):
    for file in tree.files:
        is_build = file.path.endswith(("CMakeLists.txt", ".cmake",
                                       "CMakePresets.json", "debian/rules"))
        if is_build or file.is_c:
            for line, _ in file.find(NDEBUG):
                yield file.path, line, "asserts stay on: no NDEBUG"
    presets = tree.file("CMakePresets.json")
    if presets is None:
        return
    for preset in json.loads(presets.text).get("configurePresets", []):
        kind = preset.get("cacheVariables", {}).get("CMAKE_BUILD_TYPE")
        if kind in BUILD_TYPES_WITHOUT_ASSERT:
            yield (presets.path, 1, f"preset {preset['name']}: build type "
                   f"{kind} defines NDEBUG; asserts stay on")


# --- How files look -----------------------------------------------------------

BPF_LICENCE = "GPL-2.0-only OR BSD-2-Clause"
GUARD = re.compile(r"^#ifndef (OUTRIDER_\w+_H)\n#define \1$", re.M)
LEFTOVER = re.compile(r"\b(TODO|FIXME|XXX)\b")


def is_kernel_side(file):
    """In the kernel's style and under the BPF programs' own licence."""
    return file.is_c and (room_of(file.path) == "bpf"
                          or file.path.endswith(".bpf.c"))


def has_licence(tree):
    for file in tree.files:
        if not (file.is_c or file.is_script or file.suffix in (".py", ".cmake")
                or file.path.endswith("CMakeLists.txt")):
            continue
        wanted = BPF_LICENCE if is_kernel_side(file) else "Apache-2.0"
        if f"SPDX-License-Identifier: {wanted}" not in "\n".join(file.lines[:3]):
            yield file.path, 1, f"want 'SPDX-License-Identifier: {wanted}'"


def pragma_once(tree):
    for file in tree.files:
        guarded = is_kernel_side(file) and GUARD.search(file.text)
        if (file.suffix == ".h" and "#pragma once" not in file.lines
                and not guarded):
            yield file.path, 1, "want '#pragma once'"


def line_length(tree):
    for file in c_files(tree):
        most = BPF_COLUMNS_MAX if is_kernel_side(file) else COLUMNS_MAX
        for line, text in enumerate(file.lines, 1):
            columns = len(text.expandtabs(8))
            if columns > most:
                yield file.path, line, f"{columns} columns, at most {most}"


def file_length(tree):
    for file in tree.files:
        is_code = file.is_c or file.is_script or file.suffix == ".py"
        if is_code and len(file.lines) > LINES_MAX:
            yield (file.path, len(file.lines),
                   f"{len(file.lines)} lines, at most {LINES_MAX}: divide it")


def no_leftovers(tree):
    for file in tree.files:
        if file.path.startswith("tests/tidy/"):
            continue  # which has to name them
        for line, match in file.find(LEFTOVER, file.text):
            yield file.path, line, f"{match[0]}: do it, or open an issue"


def docstrings(tree):
    for file in in_rooms(tree, DOCUMENTED_ROOMS):
        if file.suffix != ".h":
            continue
        for function in public_functions(file):
            if not function.has_docstring:
                yield (file.path, function.line,
                       f"{function.name}: want a /// docstring before it")


# --- What belongs to one machine only -----------------------------------------

MACHINE_PATH = re.compile(r"""(?:^|[\s"'=(:`])(/(?:root/\.|work/)[\w.-]+)""",
                          re.M)
# Names that have no business in this tree, as hashes, so that this list is not
# itself a finding. The hash is of a word of letters, as it is or in lower case.
FOREIGN_WORDS = {
    "053ea4804ef1bb33", "11fb682be0a0233d", "386ebc0efd04339a",
    "3ea125d0bff386e6", "487b91042c7cf27a", "5792d2981981be5a",
    "57de4cf40144bdf7", "5d72436256ada538", "60965168ce762e94",
    "6f7ac1823da81d2e", "7d3194f79e645c42", "920510199770f4d6",
    "a39a7ffad4a3013f", "c70eca6b0f88f44d", "c857d09db23e6822",
    "de2187af3fb01170", "ebde709e306badca", "eea82f53ecaed277",
}


def word_hash(word):
    return hashlib.sha256(word.encode()).hexdigest()[:16]


def no_machine_paths(tree):
    for file in tree.files:
        if file.path.startswith("tests/tidy/"):
            continue  # which has to name them
        for line, match in file.find(MACHINE_PATH, file.text):
            yield file.path, line, f"{match[1]} is one machine's own path"


def no_foreign_words(tree):
    foreign = {}
    for file in tree.files:
        for word in set(re.findall(r"[A-Za-z]+", file.text)):
            if word not in foreign:
                foreign[word] = bool(FOREIGN_WORDS & {
                    word_hash(word), word_hash(word.lower())})
            if foreign[word]:
                pattern = re.compile(rf"(?<![A-Za-z]){word}(?![A-Za-z])")
                for line, _ in file.find(pattern, file.text):
                    yield file.path, line, f"'{word}' does not belong here"


# --- The list of tests --------------------------------------------------------

LIST = "tests/list"
LIST_COLUMNS = 6
TIERS = {"sample", "full", "both"}
NEED = re.compile(r"^need_(\w+)\(\)", re.M)
OWN_FILE = re.compile(r"(?<![\w./-])(?:tests|scripts|bench)/[\w./-]+")


def listed_rows(tree):
    file = tree.file(LIST)
    for number, line in enumerate(file.lines if file else [], 1):
        if line.strip() and not line.startswith("#"):
            yield number, [column.strip() for column in line.split("|")]


def known_needs(tree):
    runner = tree.file("scripts/test")
    return {"-", "release", *(NEED.findall(runner.text) if runner else ())}


def row_faults(tree, columns, needs):
    if len(columns) != LIST_COLUMNS or not all(columns):
        return [f"want {LIST_COLUMNS} columns, none empty"]
    name, tier, wanted, seconds, command, _ = columns
    faults = []
    if tier not in TIERS:
        faults.append(f"{name}: no tier '{tier}'")
    for word in wanted.split(","):
        if re.sub(r"[-.]", "_", word) not in needs and word not in needs:
            faults.append(f"{name}: scripts/test has no need_ for '{word}'")
    if not seconds.isdigit() or int(seconds) == 0:
        faults.append(f"{name}: seconds: want a whole number, got '{seconds}'")
    for path in OWN_FILE.findall(command):
        if not tree.exists(path):
            faults.append(f"{name}: {path} does not exist")
    return faults


def test_list(tree):
    seen = set()
    needs = known_needs(tree)
    for line, columns in listed_rows(tree):
        for fault in row_faults(tree, columns, needs):
            yield LIST, line, fault
        if columns[0] in seen:
            yield LIST, line, f"{columns[0]}: there is one already"
        seen.add(columns[0])


def all_listed(tree):
    """A test that no row runs is no test."""
    text = "\n".join("|".join(row) for _, row in listed_rows(tree))
    for file in tree.files:
        is_case = re.fullmatch(r"tests/(lab/cases/[\w.-]+\.sh|host/[\w.-]+)",
                               file.path)
        if is_case and file.is_script and file.path not in text:
            yield file.path, 1, "no row of tests/list runs it"


RULES = {
    "rooms": rooms,
    "core-headers": core_headers,
    "core-calls": core_calls,
    "throw": no_throw,
    "dynamic-cast": no_dynamic_cast,
    "asserts": asserts_stay_on,
    "licence": has_licence,
    "pragma-once": pragma_once,
    "columns": line_length,
    "file-length": file_length,
    "leftovers": no_leftovers,
    "docstrings": docstrings,
    "machine-paths": no_machine_paths,
    "foreign-words": no_foreign_words,
    "test-list": test_list,
    "all-listed": all_listed,
}
