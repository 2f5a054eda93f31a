"""Python: the wheels that a project needs for each target, its start, and its scaffold.

`inputs`, `requirements`, `requirement`, `pyproject`, `workspace`   what a project asks for
`indexes`, `uv`, `session`, `tomltext`                              the tool that resolves
`locking`, `lockfile`                                               one lock for all targets
`selection`, `values`                                               one wheel a package and target
`missing`, `tagnames`, `availability`                               what has no wheel, and what can be done
"""
