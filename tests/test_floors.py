"""The layout of src/bertwright: who may import whom, how long a file may be, and what no file may do."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "bertwright"
FLOORS = (
    {"amounts", "flow", "errors", "files", "openmp", "sums", "seeds", "named"},
    {"text"},
    {"data"},
    {"nn"},
    {"encoders"},
    {"tasks"},
    {"train"},
    {"run"},
    {"cli", "hf"},
    {"__main__"},
)
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
LONGEST = 350
UNSAFE_MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"torch.load", "torch.save", "eval", "exec"}
UNSAFE_FLAGS = {"allow_pickle", "trust_remote_code"}


class Package:
    """The source of a package, parsed; modules are named from the package's root (`tasks.mlm`, `''` for the root)."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.files = {self._module(path.relative_to(folder)): path for path in sorted(folder.rglob("*.py"))}
        self.trees = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in self.files.items()}

    @staticmethod
    def _module(path: Path) -> str:
        parts = path.with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def imports(self, module: str) -> Iterator[tuple[str, str]]:
        """(module of this package, name taken from it or '') for every import in the file, also inside functions."""
        for node in ast.walk(self.trees[module]):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.split(".")[0] == self.name:
                        yield self._known(alias.name.partition(".")[2]), ""
            elif isinstance(node, ast.ImportFrom) and (base := self._base(module, node)) is not None:
                for alias in node.names:
                    inner = f"{base}.{alias.name}".strip(".")
                    yield (inner, "") if inner in self.files else (self._known(base), alias.name)

    def _base(self, module: str, node: ast.ImportFrom) -> str | None:
        named = node.module or ""
        if node.level == 0:
            return named.partition(".")[2] if named.split(".")[0] == self.name else None
        package = module.split(".") if module else []
        climb = node.level - (self.files[module].name == "__init__.py")
        return ".".join(package[: len(package) - climb] + named.split(".")).strip(".")

    def _known(self, module: str) -> str:
        assert module in self.files, f"{self.name}.{module} is imported and does not exist"
        return module


def wrong_imports(package: Package) -> list[str]:
    """Imports that point down a floor, across to a neighbour of the same floor, or at the package's root."""
    wrong = []
    for module in filter(None, package.files):
        own = module.split(".")[0]
        for target, name in package.imports(module):
            other = target.split(".")[0]
            if target == "" and name == "__version__":
                continue
            if target == "" or (other != own and not _may_import(own, other)):
                wrong.append(f"{module} imports {target or package.name}")
    return wrong


def _may_import(own: str, other: str) -> bool:
    return LEVEL[other] < LEVEL[own] or LEVEL[other] == LEVEL[own] == 0


def cycles(package: Package) -> list[list[str]]:
    """Every ring of files that import each other, found once from its first file by name."""
    edges = {
        module: sorted({target for target, _ in package.imports(module)} - {module, ""}) for module in package.files
    }

    def walk(path: list[str]) -> Iterator[list[str]]:
        for target in edges[path[-1]]:
            if target == path[0]:
                yield path
            elif target > path[0] and target not in path:
                yield from walk([*path, target])

    return [ring for start in edges for ring in walk([start])]


def unsafe(package: Package) -> list[str]:
    """Uses of what reads or writes pickles or runs code found in data."""
    found = []
    for module, tree in package.trees.items():
        for node in ast.walk(tree):
            found += [f"{module}:{node.lineno} {what}" for what in _unsafe(node)]
    return found


def _unsafe(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.split(".")[0] in UNSAFE_MODULES]
    if isinstance(node, ast.ImportFrom):
        full = [f"{node.module}.{alias.name}" for alias in node.names]
        return full if (node.module or "").split(".")[0] in UNSAFE_MODULES else [x for x in full if x in UNSAFE_CALLS]
    if isinstance(node, ast.Attribute):
        return [dotted] if (dotted := ast.unparse(node)) in UNSAFE_CALLS else []
    if isinstance(node, ast.Call):
        name = [node.func.id] if isinstance(node.func, ast.Name) and node.func.id in UNSAFE_CALLS else []
        return name + [key.arg for key in node.keywords if key.arg in UNSAFE_FLAGS and not _is_false(key.value)]
    return []


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


@pytest.fixture(scope="module")
def package() -> Package:
    return Package(SOURCE)


def test_every_file_stands_on_a_floor(package: Package) -> None:
    assert {module.split(".")[0] for module in package.files if module} <= set(LEVEL)


def test_imports_point_up(package: Package) -> None:
    assert wrong_imports(package) == []


def test_no_import_cycles(package: Package) -> None:
    assert cycles(package) == []


def test_nothing_reads_pickles_or_runs_foreign_code(package: Package) -> None:
    assert unsafe(package) == []


def test_no_file_is_called_utils(package: Package) -> None:
    assert [module for module in package.files if module.split(".")[-1] in ("utils", "util", "helpers", "misc")] == []


def test_no_file_is_too_long(package: Package) -> None:
    lengths = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in package.files.items()}
    assert {module: n for module, n in lengths.items() if n > LONGEST} == {}


@pytest.mark.parametrize("line", ["import bertwright; dir(bertwright)", "from bertwright.cli import main"])
def test_importing_costs_nothing_heavy(line: str) -> None:
    heavy = "datasets numpy pandas sklearn tokenizers torch transformers"
    code = f"import sys; {line}; print(*sorted(set(sys.modules) & set({heavy.split()!r})))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout.strip(), run.stderr) == (0, "", "")


def _tree(folder: Path, files: dict[str, str]) -> Package:
    for name, text in files.items():
        path = folder / "bertwright" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        (path.parent / "__init__.py").touch()
    return Package(folder / "bertwright")


@pytest.mark.parametrize(
    "bad",
    [
        "from ..tasks import base",
        "from ..tasks.base import Task",
        "def late():\n    from ..tasks.base import Task",
        "import bertwright.tasks.base",
        "from bertwright import tasks",
        "from .. import Model",
    ],
)
def test_an_import_that_points_down_is_found(tmp_path: Path, bad: str) -> None:
    good = "from ..flow import Batch\nfrom .. import errors, __version__\nfrom .layers import Block\nimport numpy"
    files = {"flow.py": "", "errors.py": "", "nn/layers.py": "", "tasks/base.py": "", "nn/heads.py": good}
    assert wrong_imports(_tree(tmp_path / "good", files)) == []
    assert len(wrong_imports(_tree(tmp_path / "bad", {**files, "nn/heads.py": bad}))) == 1


def test_the_two_faces_do_not_import_each_other(tmp_path: Path) -> None:
    package = _tree(tmp_path, {"cli/train.py": "from ..hf.trainer import Trainer", "hf/trainer.py": ""})
    assert wrong_imports(package) == ["cli.train imports hf.trainer"]


def test_a_cycle_is_found(tmp_path: Path) -> None:
    ring = {
        "nn/a.py": "from . import b",
        "nn/b.py": "from .c import x",
        "nn/c.py": "def late():\n    from .a import y",
        "nn/d.py": "from . import a",
    }
    assert cycles(_tree(tmp_path, ring)) == [["nn.a", "nn.b", "nn.c"]]


@pytest.mark.parametrize(
    "bad",
    [
        "import pickle",
        "from dill import loads",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "AutoModel.from_pretrained(p, trust_remote_code=True)",
        "AutoModel.from_pretrained(p, trust_remote_code=flag)",
        "numpy.load(p, allow_pickle=True)",
        "eval(line)",
    ],
)
def test_an_unsafe_line_is_found(tmp_path: Path, bad: str) -> None:
    fine = "numpy.load(p, allow_pickle=False)\nmodel.eval()\njson.load(f)"
    assert unsafe(_tree(tmp_path / "fine", {"text/a.py": fine})) == []
    assert len(unsafe(_tree(tmp_path / "bad", {"text/a.py": bad}))) == 1
