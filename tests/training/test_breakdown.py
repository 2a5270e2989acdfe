"""Where a step's time goes: what a program's text says, whose time overlaps, and traces of three kinds of devices."""

import jax
import jax.numpy as jnp
import pytest
from jax.profiler import ProfileData

from tests import tiny_method
from uit_jax.errors import UserError
from uit_jax.training import breakdown, hlo
from uit_jax.training.breakdown import Event
from uit_jax.training.hlo import Instruction

TEXT = """
HloModule jit_step, is_scheduled=true

%fused (p: f32[4,8]) -> f32[4] {
  %p = f32[4,8]{1,0} parameter(0)
  %c = f32[] constant(0)
  ROOT %sum.1 = f32[4]{0:T(128)} reduce(%p, %c), dimensions={1}, to_apply=%add
}

ENTRY %main (x: f32[4,8]) -> (f32[4], f32[4,8]) {
  %x = f32[4,8]{1,0} parameter(0), metadata={op_name="batch"}
  %made.up = f32[4,8]{1,0} copy(%x)
  %far = f32[4,8]{1,0} copy(%made.up)
  %conv.2 = (f32[4,8]{1,0}, u8[0]{0}) custom-call(%far), custom_call_target="__cudnn$convForward", metadata={op_name="jit(step)/jvp(Net)/conv_0/conv_general_dilated"}
  %fusion.3 = f32[4]{0:T(128)} fusion(%far), kind=kInput, calls=%fused, metadata={op_name="jit(step)/jvp(Net)/norm_0/reduce_sum"}
  %all-reduce-start.1 = f32[4]{0} all-reduce-start(%fusion.3), to_apply=%add
  ROOT %tuple = (f32[4]{0}, f32[4,8]{1,0}) tuple(%fusion.3, %x)
}
"""  # noqa: E501


def kind(*opcodes, path="jit(step)/x", target=""):
    return breakdown.kind_of(Instruction(frozenset(opcodes), path, path, target))


def test_a_programs_text_tells_what_its_instructions_are():
    program = hlo.instructions(TEXT)
    assert program["conv.2"].target == "__cudnn$convForward" and program["conv.2"].opcodes == {"custom-call"}
    assert program["fusion.3"].opcodes == {"reduce"}
    assert breakdown.kind_of(program["fusion.3"]) == "norm or sum"
    assert breakdown.kind_of(program["all-reduce-start.1"]) == "exchange"
    # What XLA made up belongs to what needs it, through others of its kind too, and is a copy all the same.
    assert program["made.up"].path == "" and "conv_0" in program["made.up"].near
    assert breakdown.kind_of(program["made.up"]) == "padding or copy"


def test_kinds():
    assert kind("custom-call", target="__cublas$gemm") == kind("dot", "add") == "matrix product"
    # On a TPU both are convolutions.
    assert kind("convolution", path="jit(step)/jvp(Net)/dot_general") == "matrix product"
    assert kind("convolution", "add") == kind("custom-call", target="__cudnn$convBackwardFilter") == "convolution"
    assert kind("custom-call", target="xla.convert") == kind("sort") == kind("while") == "other"
    assert kind("multiply", "reduce", path="jit(step)/optimizer/generator/add") == "optimizer"
    assert kind("add", "concatenate") == kind("copy") == kind("transpose", "slice") == "padding or copy"
    assert kind("multiply", path="jit(step)/jvp(Net)/norm_down_1/mul") == "norm or sum"
    assert kind("multiply", path="jit(step)/jvp(Net)/BatchNorm_0/mul") == kind("reduce", "add") == "norm or sum"
    assert kind("multiply", path="jit(step)/jvp(Net)/normal/mul") == kind("add", "select") == "elementwise"


def test_networks():
    names = {"Net": "generator_ab, generator_ba", "Judge": "discriminator"}
    assert breakdown.network_of("jit(step)/transpose(jvp(Net.decode))/conv_0/mul", names) == names["Net"]
    assert breakdown.network_of("jit(step)/jvp(jvp(Judge))/conv_0/mul", names) == "discriminator"
    assert breakdown.network_of("jit(step)/optimizer/guide/mul", names) == "guide"
    assert breakdown.network_of(r"state.learners[\'guide\'].params[\'conv\']", names) == "guide"
    assert breakdown.network_of("jit(step)/views/vmap()/Network/mul", names) == breakdown.VIEWS
    assert breakdown.network_of("jit(step)/mul", names) == breakdown.network_of("", {}) == breakdown.REST


def test_a_moment_is_shared_by_what_runs_in_it():
    events = [Event("a", 0, 4), Event("b", 2, 4), Event("b", 3, 4), Event("c", 6, 7), Event("d", 7, 7)]
    found = breakdown._shared(events)
    assert found == pytest.approx({"a": 2 + 1 / 2 + 1 / 3, "b": 1 / 2 + 2 / 3, "c": 1, "d": 0})
    assert found.total() == pytest.approx(5)


PLANE = """
planes {{
  name: "{plane}"
  lines {{ name: "{line}" timestamp_ns: 1000
    events {{ metadata_id: 1 offset_ps: 0 duration_ps: 3000000 {stats} }}
    events {{ metadata_id: 2 offset_ps: 3000000 duration_ps: 1000000 }}
  }}
  lines {{ name: "Steps" timestamp_ns: 1000 events {{ metadata_id: 3 offset_ps: 0 duration_ps: 9000000 }} }}
  event_metadata {{ key: 1 value {{ id: 1 name: "{name}" }} }}
  event_metadata {{ key: 2 value {{ id: 2 name: "MemcpyH2D" }} }}
  event_metadata {{ key: 3 value {{ id: 3 name: "0" }} }}
  stat_metadata {{ key: 1 value {{ id: 1 name: "hlo_op" }} }}
}}
"""
OF_KERNEL = 'stats { metadata_id: 1 str_value: "fusion.3" }'
GPU = dict(plane="/device:GPU:0", line="Stream #1", name="kernel", stats=OF_KERNEL)
TPU = dict(plane="/device:TPU:0", line="XLA Ops", name="%fusion.3 = f32[4] fusion(...)", stats="")


@pytest.mark.parametrize("device", [GPU, TPU], ids=["gpu", "tpu"])
def test_accelerators_are_read_where_there_are_any(tmp_path, device):
    others = [PLANE.format(**device | {"plane": name}) for name in ("/host:CPU", "/device:GPU:1", "/device:TPU:1")]
    text = "".join([*others, PLANE.format(**device)])
    (tmp_path / "vm.xplane.pb").write_bytes(ProfileData.text_proto_to_serialized_xspace(text))
    (event,) = breakdown._events(tmp_path, hlo.instructions(TEXT))
    assert event.name == "fusion.3" and event.end - event.begin == pytest.approx(3e-6, rel=1e-3)


def test_a_processors_step_is_told_apart(tiny):
    def step(x, kernel):
        product = jnp.tanh(x) @ kernel
        for _ in range(3):
            product = product @ kernel
        with jax.named_scope("optimizer"), jax.named_scope("model"):
            return product.sum(0), kernel * 0.9

    given = jnp.ones((512, 512)), jnp.ones((512, 512))
    with breakdown.named():
        program = jax.jit(step).lower(*given).compile()
    program(*given)
    run = lambda: [jax.block_until_ready(program(*given)) for _ in range(2)]  # noqa: E731
    found = breakdown.measure(run, 2, program.as_text(), tiny_method.Tiny())
    assert 0 < found["busy_seconds"] <= found["seconds"]
    for side in ("kinds", "networks"):
        assert sum(found[side].values()) == pytest.approx(found["busy_seconds"])
    # Which takes longest is the machine's affair.
    assert {"matrix product", "optimizer"} <= set(found["kinds"])
    assert {each["kind"] for each in found["largest"]} == set(found["kinds"])
    assert all(each["times"] >= 1 for each in found["largest"])
    with pytest.raises(UserError, match="the trace names no instruction of the program"):
        breakdown.measure(run, 2, "", tiny_method.Tiny())
    assert "matrix product" in breakdown.table(found) and found["networks"]["model"] > 0
