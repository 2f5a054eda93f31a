from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.errors import UsageError
from hostbuild.model import Output
from hostbuild.settings.outputs import compression_of_all, parse_output, plan_outputs, split_fields


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("type=oci,tar=false,dest=out", Output("oci", "out")),
        ("type=oci,dest=out.tar", Output("oci", "out.tar", tar=True)),
        ("type=oci,tar=true,dest=-", Output("oci", "-", tar=True)),
        ("type=docker,dest=-", Output("docker", "-", tar=True)),
        ("type=docker,dest=/dev/stdout", Output("docker", "-", tar=True)),
        ("type=oci,dest=/dev/fd/1", Output("oci", "-", tar=True)),
        ("type=oci,dest=/dev/fd/2", Output("oci", "/dev/fd/2", tar=True)),
        ("dest=a b,type=docker", Output("docker", "a b", tar=True)),
        ('type=oci,"dest=a,b.tar"', Output("oci", "a,b.tar", tar=True)),
        ('type=oci,"dest=say ""hi"".tar"', Output("oci", 'say "hi".tar', tar=True)),
        ("type=oci,dest=a=b", Output("oci", "a=b", tar=True)),
        (" TYPE=oci, dest=out", Output("oci", "out", tar=True)),
        ("type=registry", Output("registry", push=True)),
        ("type=registry,push=true", Output("registry", push=True)),
        ("type=image", Output("image")),
        ("type=image,push=1", Output("image", push=True)),
        ("type=image,push=true,push-by-digest=true", Output("image", push=True, by_digest=True)),
        ("type=image,name=r.example/x,push=true", Output("image", push=True, names=("r.example/x",))),
        (
            'type=registry,"name=r.example/x:v1, r.example/x:v2"',
            Output("registry", push=True, names=("r.example/x:v1", "r.example/x:v2")),
        ),
        # What buildx's documentation has people write, and hostbuild does anyway.
        (
            "type=image,name=r.example/x,push-by-digest=true,name-canonical=true,push=true",
            Output("image", push=True, by_digest=True, names=("r.example/x",)),
        ),
        (
            "type=oci,dest=x,oci-mediatypes=true,compression=zstd,compression-level=3,rewrite-timestamp=true",
            Output("oci", "x", True),
        ),
    ],
)
def test_what_buildx_has(text: str, output: Output) -> None:
    assert parse_output(text) == output


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "dest=DIR"),
        ("out", "type=oci,tar=false,dest=out"),
        ("./out", "type=oci,tar=false,dest=./out"),
        ("-", "type=docker,dest=-"),
        ("dest=out", "type=oci"),
        ("type=local,dest=out", "type=oci,tar=false,dest=DIR"),
        ("type=tar,dest=x.tar", "type=docker,dest=FILE"),
        ("type=cacheonly", "leave -o out"),
        ("type=zip,dest=x", "type=docker"),
        ("type=oci", "dest=-"),
        ("type=docker", "docker load"),
        ("type=docker,tar=false,dest=x", "type=oci,tar=false"),
        ("type=oci,tar=false,dest=-", "leave tar=false out"),
        ("type=oci,tar=maybe,dest=x", "true or false"),
        ("type=oci,type=oci", "its own -o"),
        ("type=oci,dest=x,name=y", "-t NAME"),
        ("type=oci,dest=x,push=true", "takes dest, tar"),
        ("type=registry,dest=x", "takes name, push"),
        ("type=registry,push=false", "type=image"),
        ("type=oci,dest=x,compression=estargz", "gzip, gzip:fast, zstd or uncompressed"),
        ("type=oci,dest=x,force-compression=true", "force-compression=false"),
        ("type=oci,dest=x,oci-mediatypes=false", "oci-mediatypes=true"),
        ("type=oci,dest=x,annotation-index.a=b", "--annotation"),
        ("type=oci,dest=x,frob=1", "takes dest, tar"),
        ("type=oci,dest", "quote a field"),
        ("type=oci,=x", "quote a field"),
        ('type=oci,"dest=x', "quote"),
        ('type=oci,dest="x"', "quote"),
        ('type=oci,"dest=x"y', "quote"),
    ],
)
def test_what_is_refused_has_advice(text: str, advice: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_output(text)
    assert repr(text) in caught.value.what
    assert advice in caught.value.fix


def test_push_adds_a_registry_where_there_is_none() -> None:
    layout = Output("oci", "out")
    assert plan_outputs([], push=True) == (Output("registry", push=True),)
    assert plan_outputs(["type=oci,tar=false,dest=out"], push=True) == (layout, Output("registry", push=True))
    assert plan_outputs(["type=image"], push=True) == (Output("image", push=True),)
    assert plan_outputs(["type=registry"], push=True) == (Output("registry", push=True),)
    assert plan_outputs(["type=image"], push=False) == (Output("image"),)
    assert plan_outputs([], push=False) == ()


def test_several_outputs_keep_their_order() -> None:
    outputs = plan_outputs(["type=docker,dest=-", "type=oci,dest=a", "type=oci,tar=false,dest=b"], push=False)
    assert [output.destination for output in outputs] == ["-", "a", "b"]


@pytest.mark.parametrize(
    ("texts", "push", "words"),
    [
        (["type=oci,dest=-", "type=docker,dest=-"], False, "standard output"),
        (["type=oci,dest=x", "type=docker,dest=./a/../x"], False, "both write to"),
        (["type=image,push=false"], True, "push=false"),
        (["type=image,push-by-digest=true"], False, "nothing is pushed"),
    ],
)
def test_contradictions(texts: list[str], push: bool, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        plan_outputs(texts, push=push)


@pytest.mark.parametrize(
    ("texts", "told", "found"),
    [
        ([], (None, None), (None, None)),
        (["type=oci,dest=x"], ("zstd", 3), ("zstd", 3)),
        (["type=oci,dest=x,compression=zstd"], (None, None), ("zstd", None)),
        (["type=registry,compression=gzip:fast"], ("gzip:fast", 2), ("gzip:fast", 2)),
        (["type=image,compression-level=9"], ("gzip", None), ("gzip", 9)),
        (
            ["type=docker,dest=x,compression=zstd", "type=oci,dest=y,compression=zstd,compression-level=3"],
            (None, None),
            ("zstd", 3),
        ),
    ],
)
def test_what_outputs_say_of_compression_is_the_build_s(
    texts: list[str], told: tuple[str | None, int | None], found: tuple[str | None, int | None]
) -> None:
    assert compression_of_all(texts, *told) == found


@pytest.mark.parametrize(
    ("texts", "told", "words"),
    [
        (["type=oci,dest=x,compression=zstd"], ("gzip", None), "--compression gzip"),
        (["type=oci,dest=x,compression-level=3"], ("gzip", 4), "--compression-level 4"),
        (
            ["type=oci,dest=x,compression=zstd", "type=registry,compression=uncompressed"],
            (None, None),
            "--output 'type=oci,dest=x,compression=zstd'",
        ),
        (["type=registry,compression-level=x"], (None, None), "compression-level"),
    ],
)
def test_layers_are_made_once(texts: list[str], told: tuple[str | None, int | None], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        compression_of_all(texts, *told)
    assert words in caught.value.what
    assert repr(texts[-1]) in caught.value.what


def test_relative_destinations_can_have_a_root() -> None:
    assert parse_output("type=oci,dest=x", root="/r").destination == "/r/x"
    assert parse_output("type=oci,dest=/x", root="/r").destination == "/x"
    assert parse_output("type=oci,dest=-", root="/r").destination == "-"


@given(st.lists(st.text(), min_size=1))
def test_quoted_fields_come_back(fields: list[str]) -> None:
    line = ",".join('"' + field.replace('"', '""') + '"' for field in fields)
    assert split_fields(line) == fields


@given(st.text())
def test_any_text_is_an_output_or_one_error(text: str) -> None:
    with suppress(UsageError):
        assert parse_output(text).kind in {"oci", "docker", "registry", "image"}
