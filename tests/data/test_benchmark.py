"""The input pipeline is measured on any source, and what was measured is told."""

import pytest
from PIL import Image

from tests.data.image_files import encode, picture
from uit_jax.data.benchmark import measure_source
from uit_jax.errors import UserError


@pytest.mark.parametrize(
    "specs, told", [(["procedural:count=9"], "9 images"), (["procedural:count=9#0", "{}"], "; B ")]
)
def test_a_source_and_two_domains_are_measured(tmp_path, specs, told):
    (tmp_path / "a.png").write_bytes(encode(Image.fromarray(picture(0)), "PNG"))
    options = dict(size=16, batch_size=4, images=16, windows=3)
    found = measure_source(*(spec.format(tmp_path) for spec in specs), **options)
    assert told in found["source"] and found["windows"] == 3 and found["cores"] >= 1
    assert found["images_per_second"] > 0 and found["images_per_cpu_second"] > 0
    with pytest.raises(UserError, match="no such folder"):
        measure_source(str(tmp_path / "absent"), **options)
