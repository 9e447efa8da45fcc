"""What the images hold: all of ours that their parts import."""

import grimp
import pytest

from local_cluster.images import PROJECT_IMAGES, Image
from testing.own_packages import PACKAGES, PROJECT


@pytest.mark.parametrize("image", [image for image in PROJECT_IMAGES if image.chart_key], ids=lambda image: image.name)
def test_an_image_holds_what_its_packages_import(image: Image, imports: grimp.ImportGraph) -> None:
    copied = {line.split()[1] for line in image.dockerfile.read_text().splitlines() if line.startswith("COPY ")}
    held = {path.split("/")[-1] for path in image.paths} & set(PACKAGES)
    wanted = {
        module.split(".")[0] for package in held for module in imports.find_upstream_modules(package, as_package=True)
    }
    assert wanted <= held
    assert set(image.paths) <= copied


def test_the_wheel_holds_every_package() -> None:
    wheel: list[str] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {path.split("/")[-1] for path in wheel} == set(PACKAGES)
