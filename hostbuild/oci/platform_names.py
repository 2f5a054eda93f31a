"""The names that platforms have: what Go and containerd know, and what people write instead."""

from __future__ import annotations

from collections.abc import Mapping

#: Every GOOS that Go knows, past ones too.
KNOWN_OS = frozenset(
    [
        "aix",
        "android",
        "darwin",
        "dragonfly",
        "freebsd",
        "hurd",
        "illumos",
        "ios",
        "js",
        "linux",
        "nacl",
        "netbsd",
        "openbsd",
        "plan9",
        "solaris",
        "wasip1",
        "windows",
        "zos",
    ]
)
#: Every GOARCH that Go knows, past ones too.
KNOWN_ARCHITECTURES = frozenset(
    [
        "386",
        "amd64",
        "amd64p32",
        "arm",
        "arm64",
        "arm64be",
        "armbe",
        "loong64",
        "mips",
        "mips64",
        "mips64le",
        "mips64p32",
        "mips64p32le",
        "mipsle",
        "ppc",
        "ppc64",
        "ppc64le",
        "riscv",
        "riscv64",
        "s390",
        "s390x",
        "sparc",
        "sparc64",
        "wasm",
    ]
)
#: image-index.md, "Platform Variants", and the values of Go's GOARM64, GOPPC64 and GORISCV64: normalised
#: spellings, from the lowest level up.
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "amd64": ("", "v2", "v3", "v4"),
    "arm": ("v5", "v6", "v7", "v8"),
    "arm64": (
        "",
        *(f"v8.{minor}" for minor in range(1, 10)),
        "v9",
        *(f"v9.{minor}" for minor in range(1, 6)),
    ),
    "ppc64": ("", "power8", "power9", "power10"),
    "ppc64le": ("", "power8", "power9", "power10"),
    "riscv64": ("", "rva20u64", "rva22u64", "rva23u64"),
}

#: Spellings that are accepted: the architecture, and the variant that the name stands for.
ALIASES = {
    "i386": ("386", ""),
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}
#: What `uname -m` says besides names that are known already.
MACHINES = {
    "i486": "386",
    "i586": "386",
    "i686": "386",
    "i86pc": "amd64",
    "armv5tel": "arm/v5",
    "armv5tejl": "arm/v5",
    "armv6l": "arm/v6",
    "armv7l": "arm/v7",
    "armv8l": "arm/v7",  # a 64-bit processor that runs a 32-bit system
    "loongarch64": "loong64",
}
#: Spellings that are not accepted because they are not containerd's, and what was probably meant.
MEANT = {
    **MACHINES,
    "x86": "386, amd64",
    "x64": "amd64",
    "x86_32": "386",
    "amd32": "386",
    "arm32": "arm/v7",
    "arm32v5": "arm/v5",
    "arm32v6": "arm/v6",
    "arm32v7": "arm/v7",
    "armv5": "arm/v5",
    "armv6": "arm/v6",
    "armv7": "arm/v7",
    "armv8": "arm64",
    "arm64v8": "arm64",
    "ppc64el": "ppc64le",
    "powerpc64le": "ppc64le",
    "mips64el": "mips64le",
    "mipsel": "mipsle",
}
