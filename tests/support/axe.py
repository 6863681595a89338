"""axe-core, the checker of accessibility."""

import base64
import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

AXE = "axe-core@4.14.1"
AXE_INTEGRITY = "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="


@pytest.fixture(scope="session")
def axe(request) -> str:
    """The source of axe-core, from the npm registry once, checked against its published digest."""
    folder = Path(request.config.cache.mkdir("axe-core"))
    archive = folder / f"{AXE.replace('@', '-')}.tgz"
    if not archive.exists():
        if shutil.which("npm") is None:
            pytest.skip("needs npm to fetch axe-core")
        try:
            subprocess.run(["npm", "pack", AXE], cwd=folder, check=True, capture_output=True, timeout=60)
        except (subprocess.SubprocessError, OSError):
            pytest.skip(f"{AXE} cannot be fetched from the npm registry")
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    assert f"sha512-{digest}" == AXE_INTEGRITY
    with tarfile.open(archive) as tar:
        return tar.extractfile("package/axe.min.js").read().decode()
