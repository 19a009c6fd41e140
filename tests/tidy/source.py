# SPDX-License-Identifier: Apache-2.0
"""What the rules look at: the files of a tree, and C++ without its words."""

import dataclasses
import pathlib
import re

SKIPPED_FOLDERS = {".git", "build", "__pycache__"}
C_SUFFIXES = {".c", ".cpp", ".h"}

# Numbers come first so that the ' in 1'000 opens no character literal.
_TOKEN = re.compile(
    r"""(?P<number>\b\d[\w']*)
      | (?P<comment>//[^\n]*|/\*.*?\*/)
      | R"(?P<mark>[^()\\\s]*)\(.*?\)(?P=mark)"
      | "(?:\\.|[^"\\\n])*"
      | '(?:\\.|[^'\\\n])*'""",
    re.S | re.X,
)


def without_words(text):
    """C++ without comments and the insides of literals, on the same lines."""

    def blank(match):
        if match["number"]:
            return match[0]
        filler = "" if match["comment"] else '""'
        return filler + "\n" * match[0].count("\n")

    return _TOKEN.sub(blank, text)


@dataclasses.dataclass
class File:
    path: str  # relative to the tree, with '/'
    text: str

    def __post_init__(self):
        self.suffix = pathlib.PurePosixPath(self.path).suffix
        self.is_c = self.suffix in C_SUFFIXES
        self.is_script = self.text.startswith("#!")
        self.lines = self.text.splitlines()
        self._code = None

    @property
    def code(self):
        """The text, for C and C++ without comments and literals."""
        if self._code is None:
            self._code = without_words(self.text) if self.is_c else self.text
        return self._code

    def find(self, pattern, text=None):
        """(line number, match) of each place where `pattern` matches."""
        text = self.code if text is None else text
        for match in pattern.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, match


@dataclasses.dataclass
class Tree:
    root: pathlib.Path
    files: list

    def file(self, path):
        return next((f for f in self.files if f.path == path), None)

    def exists(self, path):
        return (self.root / path).exists()


def read_tree(root):
    root = pathlib.Path(root)
    files = []
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if SKIPPED_FOLDERS.intersection(parts) or not path.is_file():
            continue
        content = path.read_bytes()
        if b"\0" not in content:
            text = content.decode("utf-8", errors="replace")
            files.append(File("/".join(parts), text))
    return Tree(root, files)


@dataclasses.dataclass
class Declaration:
    line: int  # 1-based, where it starts
    name: str
    has_docstring: bool


_FUNCTION_NAME = re.compile(r"([~\w]+)\s*\(")
_NO_FUNCTION = re.compile(
    r"^(using|typedef|static_assert|friend)\b"
    r"|\boperator\b|=\s*(default|delete)\s*$|^[^(]*="
)
_SCOPE = re.compile(r"\b(namespace|class|struct|union|enum)\b(?:\s+class\b)?"
                    r"\s*(\w*)")


def public_functions(file):
    """The functions that a header declares for others, in order.

    A heuristic, not a parser: it follows braces. Left out are constructors,
    operators, friends, and functions whose body is in the header to be read; an
    overload shares the docstring of the declaration right before it.
    """
    found = []
    for line, text, scopes in _statements(file):
        name = _function_name(text, scopes)
        if name is None:
            continue
        documented = line >= 2 and file.lines[line - 2].strip().startswith("///")
        if found and found[-1].name == name:
            documented = documented or found[-1].has_docstring
        found.append(Declaration(line, name, documented))
    return found


def _function_name(text, scopes):
    text = re.sub(r"^template\s*<[^()]*?>\s*(?=\w)", "", text)
    match = _FUNCTION_NAME.search(re.sub(r"\[\[.*?\]\]", "", text))
    if match is None or _NO_FUNCTION.search(text):
        return None
    name = match[1]
    return None if name.startswith("~") or name in scopes else name


def _statements(file):
    """(line, text, class names around it) of each statement that ends with ';'
    at namespace level or among the public members of a class."""
    code = "\n".join("" if line.lstrip().startswith("#") else line
                     for line in file.code.split("\n"))
    scopes = []  # [kind, name, is_public]
    pending, start, line = "", 1, 1
    for char in code:
        if not pending.strip():
            start = line
        line += char == "\n"
        visible = all(kind != "body" and public for kind, _, public in scopes)
        names = [name for _, name, _ in scopes]
        if char == "{":
            scopes.append(_scope_of(pending))
            pending = ""
        elif char == "}":
            if scopes:
                scopes.pop()
            pending = ""
        elif char == ";":
            if visible:
                yield start, pending.strip(), names
            pending = ""
        elif char == ":" and pending.strip() in ("public", "private",
                                                 "protected"):
            scopes[-1][2] = pending.strip() == "public"
            pending = ""
        else:
            pending += char


def _scope_of(pending):
    match = _SCOPE.search(re.sub(r"<[^<>]*>", "", pending))
    if match is None or "(" in pending:
        return ["body", "", False]
    kind, name = match[1], match[2]
    return ["body" if kind == "enum" else kind, name, kind != "class"]
