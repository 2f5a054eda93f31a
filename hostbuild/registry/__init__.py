"""Registries: logging in, reading, pushing (OCI distribution specification 1.1; Docker's registry API version
2).

`client`      Registries and Repository: what others ask for
`push`        an image or index with all it names, to one or more references
`manifests`   looking, reading and writing manifests
`uploads`     one blob's way into a repository
`fetching`    a blob's bytes, from mirrors and the registry
`mirrors`     hosts that are tried before a registry
`referrers`   the fallback index of what refers to a subject
`session`     one registry host: scheme, challenges, tokens
`answers`     what a registry's refusal means
"""

from __future__ import annotations

from hostbuild.registry.client import Registries, Repository
from hostbuild.registry.push import PushContent, Pushed, push

__all__ = ["PushContent", "Pushed", "Registries", "Repository", "push"]
