"""What a build was asked for: flags, HOSTBUILD_* variables, hostbuild.toml and func.yaml, merged."""
