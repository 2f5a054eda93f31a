from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.errors import InvalidReferenceError
from hostbuild.oci.digest import Digest
from hostbuild.oci.quoting import quote
from hostbuild.oci.reference import Reference
from tests.oci.samples import assert_explains

F256 = "sha256:" + "f" * 64
F512 = "sha512:" + "f" * 128
HEX64 = "1a3f5e7d9c1b3a5f7e9d1c3b5a7f9e1d3c5b7a9f1e3d5d7c9b1a3f5e7d9c1b3a"

# Inputs and what they mean: distribution/reference's own tests of its parser and its normalisation tell them.
GOOD = [
    ("test_com", "docker.io", "library/test_com", "latest", ""),
    ("test.com:tag", "docker.io", "library/test.com", "tag", ""),
    ("test.com:5000", "docker.io", "library/test.com", "5000", ""),
    ("test.com/repo:tag", "test.com", "repo", "tag", ""),
    ("test:5000/repo", "test:5000", "repo", "latest", ""),
    ("test:5000/repo:tag", "test:5000", "repo", "tag", ""),
    (f"test:5000/repo@{F256}", "test:5000", "repo", "", F256),
    (f"test:5000/repo:tag@{F256}", "test:5000", "repo", "tag", F256),
    ("lowercase:Uppercase", "docker.io", "library/lowercase", "Uppercase", ""),
    ("sub-dom1.foo.com/bar/baz/quux:some-long-tag", "sub-dom1.foo.com", "bar/baz/quux", "some-long-tag", ""),
    (
        "b.gcr.io/test.example.com/my-app:test.example.com",
        "b.gcr.io",
        "test.example.com/my-app",
        "test.example.com",
        "",
    ),
    ("xn--n3h.com/myimage:xn--n3h.com", "xn--n3h.com", "myimage", "xn--n3h.com", ""),
    (f"xn--7o8h.com/myimage:xn--7o8h.com@{F512}", "xn--7o8h.com", "myimage", "xn--7o8h.com", F512),
    ("foo_bar.com:8080", "docker.io", "library/foo_bar.com", "8080", ""),
    ("foo/foo_bar.com:8080", "docker.io", "foo/foo_bar.com", "8080", ""),
    ("192.168.1.1", "docker.io", "library/192.168.1.1", "latest", ""),
    ("192.168.1.1:5000", "docker.io", "library/192.168.1.1", "5000", ""),
    ("192.168.1.1:5000/repo:5050", "192.168.1.1:5000", "repo", "5050", ""),
    ("[2001:db8::1]/repo", "[2001:db8::1]", "repo", "latest", ""),
    ("[2001:db8:1:2:3:4:5:6]/repo:tag", "[2001:db8:1:2:3:4:5:6]", "repo", "tag", ""),
    (f"[2001:db8::1]:5000/repo:tag@{F256}", "[2001:db8::1]:5000", "repo", "tag", F256),
    ("[::1]:5000/repo", "[::1]:5000", "repo", "latest", ""),
    ("docker/docker", "docker.io", "docker/docker", "latest", ""),
    ("localhost/library/debian", "localhost", "library/debian", "latest", ""),
    ("localhost/debian", "localhost", "debian", "latest", ""),
    ("localhost:5000", "docker.io", "library/localhost", "5000", ""),
    ("LOCALDOMAIN/debian", "LOCALDOMAIN", "debian", "latest", ""),
    ("Docker/docker", "Docker", "docker", "latest", ""),
    ("docker.io/debian", "docker.io", "library/debian", "latest", ""),
    ("index.docker.io/debian", "docker.io", "library/debian", "latest", ""),
    ("index.docker.io/docker/docker", "docker.io", "docker/docker", "latest", ""),
    ("127.0.0.1:5000/library/debian", "127.0.0.1:5000", "library/debian", "latest", ""),
    ("thisisthesongthatneverendsitgoesonandonandonthisisthesongthatnev", "docker.io", None, "latest", ""),
    (f"docker.io/{HEX64}", "docker.io", f"library/{HEX64}", "latest", ""),
    ("docker---rules/docker", "docker.io", "docker---rules/docker", "latest", ""),
    ("d/docker", "docker.io", "d/docker", "latest", ""),
    ("dock__er/docker", "docker.io", "dock__er/docker", "latest", ""),
    ("library/foo/bar", "docker.io", "library/foo/bar", "latest", ""),
    ("a:_", "docker.io", "library/a", "_", ""),
    ("a:" + "t" * 128, "docker.io", "library/a", "t" * 128, ""),
    ("a.b/" + "r" * 251, "a.b", "r" * 251, "latest", ""),
]


@pytest.mark.parametrize(("text", "registry", "repository", "tag", "digest"), GOOD)
def test_good(text: str, registry: str, repository: str | None, tag: str, digest: str) -> None:
    found = Reference.parse(text)
    assert found.registry == registry
    assert found.repository == (f"library/{text}" if repository is None else repository)
    assert found.tag == tag
    assert str(found.digest or "") == digest
    assert Reference.parse(str(found)) == found
    assert Reference.parse(found.familiar) == found
    assert pickle.loads(pickle.dumps(found)) == found


BAD = [
    ("", "empty"),
    (":justtag", "before or after"),
    (f"@{F256}", "before or after"),
    ("repo@sha256:" + "f" * 34, "64 hex digits, not 34"),
    ("repo@sha256:" + "F" * 64, "lower case"),
    (f"repo@{F256}:tag", "digits"),
    (f"repo@{F256}@{F256}", "digits"),
    ("validname@invaliddigest:" + "f" * 128, "algorithm"),
    ("repo@", "digest"),
    ("Uppercase:tag", "lower case"),
    ("test:5000/Uppercase/lowercase:tag", "lower case"),
    ("docker/Docker", "lower case"),
    ("a/" + "a" * 256 + ":tag", "more than 255"),
    ("a.b/" + "r" * 252, "more than 255"),
    ("aa/asdf$$^/aa", "asdf$$^"),
    ("[2001:db8::1]", "followed by a repository"),
    ("[2001:db8::1]:5000", "followed by a repository"),
    ("[2001:db8::1]:tag", "followed by a repository"),
    ("[fe80::1%eth0]:5000/repo", "registry"),
    ("[2001:db8:3:4::192.0.2.33]:5000/debian", "registry"),
    ("fc00::1:5000/debian", "registry"),
    ("https://github.com/docker/docker", "https://"),
    ("-docker", "-docker"),
    ("-docker.io/docker/docker", "registry"),
    ("docker///docker", "before or after"),
    ("docker/", "before or after"),
    ("docker.io/", "before or after"),
    ("/docker", "before or after"),
    ("docker-/docker", "docker-"),
    ("____/____", "____"),
    ("_docker/_docker", "_docker"),
    ("dock..er/docker", "dock..er"),
    ("dock_.er/docker", "dock_.er"),
    ("dock-.er/docker", "dock-.er"),
    ("dock___er/docker", "dock___er"),
    (HEX64, "64 hex digits"),
    ("a:", "no tag"),
    ("a.b:x/c", "registry"),
    ("a.b:/c", "registry"),
    ("a:" + "t" * 129, "129 characters"),
    ("a:.x", "tag"),
    ("a:-x", "tag"),
    ("a:x:y", "tag"),
    ("a:é", "tag"),
    ("a:x\n", "tag"),
    ("a\n", "component"),
    ("a b", "component"),
    (" a", "component"),
    ("é", "component"),
    ("a.b:\u0663/c", "registry"),
    ("127.0.0.1:99999/a", "the port '99999' of its registry is none: ports go from 1 to 65535"),
    ("a.b:65536/a", "ports go"),
    ("a.b:0/a", "ports go"),
    ("a.b:000/a", "ports go"),
    ("[::1]:70000/a", "ports go"),
    ("a.b:" + "9" * 200 + "/a", "ports go"),
]


@pytest.mark.parametrize(("text", "why"), BAD)
def test_bad_ones_say_which_part(text: str, why: str) -> None:
    with pytest.raises(InvalidReferenceError) as caught:
        Reference.parse(text)
    assert why in caught.value.why
    assert caught.value.fix
    assert caught.value.what.isprintable()
    assert repr(text[:50])[1:-1] in caught.value.what


@pytest.mark.parametrize("port", ["1", "65535", "005000"])
def test_ports(port: str) -> None:
    for host in ("a.b", "localhost", "[::1]"):
        assert Reference.parse(f"{host}:{port}/a").registry == f"{host}:{port}"


def test_an_upper_case_name_is_told_how_to_be_written() -> None:
    with pytest.raises(InvalidReferenceError) as caught:
        Reference.parse("MyApp")
    assert "'myapp'" in caught.value.fix


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("App:v1", "app:v1"),
        ("localhost:7341/Foo:1", "localhost:7341/foo:1"),
        ("team/App", "team/app"),
        (f"r.example/A/b@sha256:{HEX64}", f"r.example/a/b@sha256:{HEX64}"),
    ],
)
def test_advice_keeps_what_was_right(text: str, advice: str) -> None:
    with pytest.raises(InvalidReferenceError) as caught:
        Reference.parse(text)
    assert caught.value.fix == f"write {quote(advice)}"
    assert Reference.parse(advice).repository.islower()


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("http://user:s3cret@host/app:1", "http://***@host/app:1"),
        ("user:s3cret@host:1/app:1", "***@host:1/app:1"),
        ("user:s3cret@host", "***@host"),
        ("s3cret@host/app", "***@host/app"),
        ("user:a/s3cret@host/app", "***@host/app"),
        ("user:s3cret@b@host/app", "***@host/app"),
        (f"user:s3cret@host/app@sha256:{HEX64}", "***@host/app@sha256:"),
        ("user:s3cret@host/app@sha256:1", "***@host/app@sha256:1"),
        ("[fe80::1%s3cret@invalidzone]:5000/repo", "***@invalidzone]:5000/repo"),
        ("user:" + "s3cret" * 50 + "@host/app", "***@host/app"),
    ],
)
def test_no_message_tells_a_login(text: str, rest: str) -> None:
    with pytest.raises(InvalidReferenceError) as caught:
        Reference.parse(text)
    error = caught.value
    assert "s3cret" not in f"{error}{error.fix}{error.detail}{error!r}"
    assert rest in error.what
    assert "hostbuild login" in error.fix


def test_a_wrong_digest_is_no_login() -> None:
    for text in ("app@v1", "app:v1@sha256:12", "localhost:5000/app@sha999", "localhost:5000/app@nothing"):
        with pytest.raises(InvalidReferenceError, match="digest"):
            Reference.parse(text)


@pytest.mark.parametrize(
    ("text", "familiar", "name"),
    [
        ("nginx", "nginx", "docker.io/library/nginx"),
        ("library/nginx:1", "nginx", "docker.io/library/nginx"),
        ("index.docker.io/a/b", "a/b", "docker.io/a/b"),
        ("library/foo/bar", "library/foo/bar", "docker.io/library/foo/bar"),
        ("registry.example/app", "registry.example/app", "registry.example/app"),
        ("FOO/bar", "FOO/bar", "FOO/bar"),
        (f"docker.io/{HEX64}", f"docker.io/library/{HEX64}", f"docker.io/library/{HEX64}"),
        ("docker.io/example.com/app", "docker.io/example.com/app", "docker.io/example.com/app"),
        ("docker.io/localhost/app", "docker.io/localhost/app", "docker.io/localhost/app"),
    ],
)
def test_names(text: str, familiar: str, name: str) -> None:
    found = Reference.parse(text)
    assert (found.familiar_name, found.name) == (familiar, name)


def test_other_tags_and_digests() -> None:
    found = Reference.parse("app:v1")
    digest = Digest.parse(F256)
    assert str(found.with_tag("v2")) == "docker.io/library/app:v2"
    assert found.with_digest(digest).familiar == f"app@{F256}"
    assert str(found.with_digest(digest).with_tag("x")) == "docker.io/library/app:x"
    with pytest.raises(InvalidReferenceError, match="tag"):
        found.with_tag("not a tag")


def test_a_name_to_give_has_no_digest() -> None:
    assert Reference.parse_tagged("app").tag == "latest"
    assert Reference.parse_tagged("app:v1").tag == "v1"
    with pytest.raises(InvalidReferenceError) as caught:
        Reference.parse_tagged(f"app:v1@{F256}")
    assert "app:v1" in caught.value.fix


LIKELY = st.text(alphabet="aZ0.:/@[]-_é ", max_size=30)
COMPONENT = st.from_regex(r"[a-z0-9]{1,12}(?:(?:[._]|__|-{1,3})[a-z0-9]{1,12}){0,2}", fullmatch=True)
REGISTRY = st.sampled_from(
    ["", "localhost/", "a.b/", "a:1/", "[::1]:2/", "UP/", "docker.io/", "index.docker.io/"]
)
# A first component with a dot is a registry, where not everything stands that may stand in a component.
NAME = st.tuples(REGISTRY, st.lists(COMPONENT, min_size=1, max_size=3)).filter(
    lambda pair: bool(pair[0]) or len(pair[1]) == 1 or "." not in pair[1][0]
)
WELL_FORMED = st.builds(
    lambda name, tag, digest: name[0] + "/".join(name[1]) + tag + digest,
    NAME,
    st.just("") | st.from_regex(r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    st.sampled_from(["", f"@{F256}", f"@{F512}"]),
)


@given(st.text() | LIKELY)
def test_any_text_is_a_reference_or_the_typed_error(text: str) -> None:
    try:
        found = Reference.parse(text)
    except InvalidReferenceError as error:
        assert_explains(error)
        return
    assert Reference.parse(str(found)) == found
    assert Reference.parse(found.familiar) == found


@given(WELL_FORMED)
def test_well_formed_ones_are_stable(text: str) -> None:
    found = Reference.parse(text)
    assert Reference.parse(str(found)) == found
    assert str(Reference.parse(str(found))) == str(found)
    assert Reference.parse(found.familiar) == found
    assert bool(found.tag) or found.digest is not None
