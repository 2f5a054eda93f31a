"""The signatures of top-level functions and the kinds of top-level types of a Go file.

The rules are those of the Go specification, "Function types" (names and types in a parameter list)
and "Struct types" (embedded fields). Types are given as text in one spelling.
"""

from __future__ import annotations

from hostbuild.languages.go.gofile import Func, TypeDecl, TypeKind
from hostbuild.languages.go.lexer import KEYWORDS, Scanner, Token

_CLOSING = {"(": ")", "[": "]", "{": "}"}


def read_function(scanner: Scanner, keyword: Token) -> Func:
    """The function behind the keyword `func`, its body skipped. Raises SourceError."""
    token = scanner.next()
    receiver = ""
    if token.text == "(":
        receivers = read_params(scanner, token)
        receiver = _base_name(receivers[0]) if receivers else ""
        token = scanner.next()
    if token.kind != "word" or token.text in KEYWORDS:
        raise scanner.error(token.offset, "expected a function name")
    name = token
    token = scanner.next()
    generic = token.text == "["
    if generic:
        scanner.skip_brackets(token.offset)
        token = scanner.next()
    if token.text != "(":
        raise scanner.error(token.offset, f"expected ( behind func {name.text}")
    params = read_params(scanner, token)
    results = _read_results(scanner)
    line, column = scanner.position(keyword.offset)
    return Func(name.text, receiver, params, results, generic, line, column)


def _read_results(scanner: Scanner) -> tuple[str, ...]:
    """The result types, and go past the body, if there is one."""
    results: tuple[str, ...] = ()
    if scanner.peek().text == "(":
        results = read_params(scanner, scanner.next())
    tokens: list[Token] = []
    while True:
        token = scanner.next()
        if token.kind == "end" or token.text == ";":
            break
        if token.text == "{" and not (tokens and tokens[-1].text in ("struct", "interface")):
            scanner.skip_brackets(token.offset)
            break
        tokens.append(token)
        if token.kind == "operator" and token.text in _CLOSING:
            tokens += _read_group(scanner, token)
    return results or ((_join(tokens),) if tokens else ())


def _read_group(scanner: Scanner, opening: Token) -> list[Token]:
    """All tokens up to and with the bracket that closes `opening`."""
    tokens: list[Token] = []
    expected = [_CLOSING[opening.text]]
    while expected:
        token = scanner.next()
        if token.kind == "end":
            raise scanner.error(opening.offset, f"no closing bracket for {opening.text!r}")
        if token.kind == "operator":
            if token.text in _CLOSING:
                expected.append(_CLOSING[token.text])
            elif token.text in (")", "]", "}") and token.text != expected.pop():
                raise scanner.error(token.offset, f"unexpected {token.text!r}")
        tokens.append(token)
    return tokens


def _split(tokens: list[Token], separators: str) -> list[list[Token]]:
    """Cut at separators that are not inside brackets; empty parts are left out."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        if token.kind == "operator":
            if token.text in _CLOSING:
                depth += 1
            elif token.text in (")", "]", "}"):
                depth -= 1
            elif depth == 0 and token.text in separators:
                parts.append([])
                continue
        parts[-1].append(token)
    return [part for part in parts if part]


def read_params(scanner: Scanner, opening: Token) -> tuple[str, ...]:
    """The types of a parameter list whose parenthesis was just read. Raises SourceError."""
    entries = _split(_read_group(scanner, opening)[:-1], ",;")
    named = [_is_named(entry) for entry in entries]
    if not any(named):
        return tuple(_join(entry) for entry in entries)
    types: list[str] = []
    waiting = 0
    for entry, has_name in zip(entries, named, strict=True):
        waiting += 1
        if has_name:
            types += [_join(entry[1:])] * waiting
            waiting = 0
    return tuple(types)


def _is_named(entry: list[Token]) -> bool:
    """Whether a parameter or field is `name Type`; `T`, `p.T`, `T[int]`, `*T` are types alone."""
    if len(entry) < 2 or entry[0].kind != "word" or entry[0].text in KEYWORDS or entry[1].text == ".":
        return False
    if entry[1].text != "[":
        return True
    depth = 0
    for index, token in enumerate(entry):
        if token.kind == "operator":
            depth += (token.text == "[") - (token.text == "]")
        if index and depth == 0:
            return index + 1 < len(entry)  # something behind the brackets: name []T, not T[int]
    return True


def _join(tokens: list[Token]) -> str:
    """Tokens as text in one spelling, with blanks only where they are needed or usual."""
    words: list[str] = []
    before: Token | None = None
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        if token.text == ";" and after is not None and after.text == "}":
            continue
        if before is not None and _blank_between(before, token):
            words.append(" ")
        if token.text == "<-" and before is not None and before.text == "chan":
            words.append("<- ")
        else:
            words.append(token.text)
        before = token
    return "".join(words)


def _blank_between(before: Token, token: Token) -> bool:
    if before.text in (",", ";") or (before.text == ")" and token.text == "("):
        return True
    if token.kind == "operator":
        return False
    return before.kind != "operator" or before.text in (")", "}")


def _base_name(receiver: str) -> str:
    return receiver.partition("[")[0].strip("()* ")


def read_types(scanner: Scanner) -> list[TypeDecl]:
    """The types declared behind the keyword `type`, alone or in parentheses. Raises SourceError."""
    token = scanner.next()
    if token.text != "(":
        return [_read_type(scanner, token)]
    found: list[TypeDecl] = []
    while (token := scanner.next()).text != ")":
        if token.text != ";":
            found.append(_read_type(scanner, token))
    return found


def _read_type(scanner: Scanner, name: Token) -> TypeDecl:
    if name.kind != "word" or name.text in KEYWORDS:
        raise scanner.error(name.offset, "expected a type name")
    kind: TypeKind = "other"
    embeds = False
    token = scanner.peek()
    if token.text in ("struct", "interface"):
        kind = "struct" if token.text == "struct" else "interface"
        scanner.next()
        opening = scanner.next()
        if opening.text != "{":
            raise scanner.error(opening.offset, f"expected {{ behind {token.text}")
        body = _read_group(scanner, opening)[:-1]
        embeds = kind == "struct" and any(_is_embedded(field) for field in _split(body, ";"))
    elif token.text == "=":
        kind = "alias"
    while (token := scanner.peek()).kind != "end" and token.text not in (";", ")"):
        scanner.next()
        if token.kind == "operator" and token.text in _CLOSING:
            scanner.skip_brackets(token.offset)
    return TypeDecl(name.text, kind, embeds, scanner.position(name.offset)[0])


def _is_embedded(field: list[Token]) -> bool:
    tokens = field[:-1] if field[-1].kind == "string" else field
    if any(token.text == "," for token in tokens[:2]):
        return False
    return not _is_named(tokens)
