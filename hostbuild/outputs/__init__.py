"""Step 7: what the user asked to have besides the layout in the build directory: layouts and tar files.

Pushing is not done here: outputs of type registry and image are passed over.
"""

from __future__ import annotations

from hostbuild.outputs.destinations import check_destinations
from hostbuild.outputs.writing import blobs_of, write_outputs

__all__ = ["blobs_of", "check_destinations", "write_outputs"]
