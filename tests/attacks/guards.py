"""Mutations: a check is taken out of the code, and the attack that it refuses must then succeed.

A `Guard` is one `if …: raise …` of a function, found by words of its message; where its condition is a chain of `or`, one operand of it.
`Same` is a statement `_same("thing", wanted, got)`, found by exactly its thing. `removed` compiles the function anew without it, in its own
module. So an attack test cannot pass for another reason than the one it names. `every_guard` lists what there is to remove.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import FunctionType, ModuleType

import pytest
from parley_crypto.errors import CryptoError
from parley_policies.errors import PolicyError
from parley_protocol.errors import ProtocolError

REFUSED = (ProtocolError, CryptoError, PolicyError)


@dataclass(frozen=True)
class Guard:
    """The check in `owner.function` whose message contains `words`; of its condition only the operand that contains `operand`, if given."""

    owner: type | ModuleType
    function: str
    words: str
    operand: str = ""


@dataclass(frozen=True)
class Same(Guard):
    """The check in `owner.function` that a thing, named in `words`, is the same as it must be."""


@dataclass(frozen=True)
class Patch:
    """A check that is not an `if`: the attribute `name` of `owner`, or its item where it is a dictionary, is replaced as a whole."""

    owner: object
    name: str
    value: object


@dataclass(frozen=True)
class Attack:
    """`play` raises one of REFUSED with `refusal` in its message; with all of `without` taken out it returns, having got what it wanted."""

    name: str
    play: Callable[[], None]
    refusal: str
    without: tuple[Guard | Patch, ...]

    def __str__(self) -> str:
        return self.name


def check_refused(attack: Attack) -> None:
    """The attack is refused, in the words that it should be."""
    with pytest.raises(REFUSED, match=attack.refusal):
        attack.play()


def check_mutations(attack: Attack) -> None:
    """Without its checks the attack succeeds; with any one of several back it is refused."""
    with pytest.MonkeyPatch.context() as patch:
        _apply(attack.without, patch)
        attack.play()
    for kept in attack.without if len(attack.without) > 1 else ():
        with pytest.MonkeyPatch.context() as patch:
            _apply([item for item in attack.without if item != kept], patch)
            with pytest.raises(REFUSED):
                attack.play()


def _apply(items: Iterable[Guard | Patch], patch: pytest.MonkeyPatch) -> None:
    by_function: dict[tuple[type | ModuleType, str], list[Guard]] = {}
    for item in items:
        match item:
            case Guard():
                by_function.setdefault((item.owner, item.function), []).append(item)
            case Patch(owner=dict() as table):
                patch.setitem(table, item.name, item.value)
            case Patch():
                patch.setattr(item.owner, item.name, item.value)
    for (owner, name), guards in by_function.items():
        original = getattr(owner, name)
        mutated = removed(original, guards)
        modules = [owner] if isinstance(owner, type) else list(sys.modules.values())  # modules import functions from each other
        for place in modules:
            if getattr(place, "__dict__", {}).get(name) is original:
                patch.setattr(place, name, mutated)


def removed(function: FunctionType, guards: Iterable[Guard]) -> FunctionType:
    """Return the function without those checks, each of which must be in it exactly once."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for guard in guards:
        remover = _Remover(guard)
        tree = ast.fix_missing_locations(remover.visit(tree))
        assert remover.count == 1, f"{guard} is in {function.__qualname__} {remover.count} times"
    scope: dict[str, FunctionType] = {}
    code = compile(tree, f"<{function.__qualname__}, mutated>", "exec", flags=annotations.compiler_flag)
    exec(code, function.__globals__, scope)  # noqa: S102 - the project's own code
    return scope[function.__name__]


class _Remover(ast.NodeTransformer):
    def __init__(self, guard: Guard) -> None:
        self.guard, self.count = guard, 0

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        if not isinstance(self.guard, Same) or _sameness(node) != self.guard.words:
            return self.generic_visit(node)
        self.count += 1
        return ast.Pass()

    def visit_If(self, node: ast.If) -> ast.AST:
        if isinstance(self.guard, Same) or self.guard.words not in (_message(node) or ""):
            return self.generic_visit(node)
        if not self.guard.operand:
            self.count += 1
            return ast.Pass()
        assert isinstance(node.test, ast.BoolOp), ast.unparse(node.test)
        left = [value for value in node.test.values if self.guard.operand not in ast.unparse(value)]
        self.count += len(node.test.values) - len(left)
        node.test = left[0] if len(left) == 1 else ast.BoolOp(node.test.op, left)
        return node


def _message(node: ast.If) -> str | None:
    raises = [statement for statement in node.body if isinstance(statement, ast.Raise)]
    return _texts(raises[0]) if raises else None


def _sameness(node: ast.Expr) -> str | None:
    """Return what `_same("thing", wanted, got)` is about; None for another statement."""
    match node.value:
        case ast.Call(func=ast.Name(id="_same"), args=[thing, *_]):
            return _texts(thing)
        case _:
            return None


def _texts(node: ast.AST) -> str:
    return "".join(part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str))


def every_guard(module: ModuleType) -> Iterator[tuple[str, str, str]]:
    """Yield all checks of a module as (function, message without its values, operand)."""
    for function in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(function, ast.FunctionDef) and function.name != "_same":
            for node in ast.walk(function):
                if isinstance(node, ast.If) and (message := _message(node)):
                    chain = isinstance(node.test, ast.BoolOp) and isinstance(node.test.op, ast.Or)
                    for operand in node.test.values if isinstance(node.test, ast.BoolOp) and chain else [None]:
                        yield function.name, message, "" if operand is None else ast.unparse(operand)
                elif isinstance(node, ast.Expr) and (thing := _sameness(node)):
                    yield function.name, thing, ""
