"""A gated network is an ordinary network: it can be copied, pickled, averaged, compiled, exported and folded."""

import copy
import io
import pickle

import pytest
import torch
from snapshot import gate_for, output, same_output, unlike
from support.cases import HOSTS
from torch.export import Dim

import whatwhere as ww

GATES = ["se", "bam", "cbam", "eca", "partial"]
# torch does not compile backward hooks; the others differ from the plain host in nothing that compiling sees
WHOLE = [
    "shared-module",
    "tied",
    "functional-relu",
    "dict-output",
    "two-inputs",
    "indexed",
    "named-gate",
    "in-training",
]


def gated(name="plain", gate="bam", at="bottlenecks", **options):
    case = HOSTS[name]
    model = case.build()
    ww.attach_(model, gate_for(gate, case), at=at, **case.planning(), **options)
    with ww.disabled(model):
        for module in [module for module in model.modules() if type(module).__name__.startswith("Gated")]:
            unlike(module.gate)
    return model


@pytest.mark.parametrize("name", HOSTS)
def test_deep_copies_are_independent(name):
    case = HOSTS[name]
    model = gated(name, "se")
    before = output(model, case)
    clone = copy.deepcopy(model)
    assert same_output(clone, case, before)
    assert not {id(m) for m in model.modules()} & {id(m) for m in clone.modules()}
    assert ww.status(clone) == ww.status(model)
    for gate in ww.detach_(clone).values():
        unlike(gate)
    assert same_output(model, case, before)
    assert same_output(clone, case, output(case.build(), case))


def test_switching_off_the_copy_leaves_the_original():
    model = gated()
    with ww.disabled(copy.deepcopy(model)):
        assert all(gate.enabled for gate in ww.status(model).gates)


@pytest.mark.parametrize("name", HOSTS)
def test_pickle(name):
    case = HOSTS[name]
    model = gated(name, "se")
    clone = pickle.loads(pickle.dumps(model))
    assert same_output(clone, case, output(model, case))
    bare = case.build(1).state_dict()
    assert list(clone.load_state_dict(bare)) == [[], []]
    assert list(clone.state_dict()) == list(model.state_dict())
    ww.detach_(clone)
    assert same_output(clone, case, output(case.build(1), case))


def test_torch_save():
    model = gated()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    assert state._metadata == model.state_dict()._metadata
    gated().load_state_dict(state)


def step(model):
    case = HOSTS["plain"]
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    model(*case.images()).square().sum().backward()
    optimiser.step()


class TestAverages:
    def test_of_torch(self):
        model = gated()
        average = torch.optim.swa_utils.AveragedModel(
            model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5)
        )
        average.update_parameters(model)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        step(model)
        average.update_parameters(model)
        state = average.module.state_dict()
        assert list(state) == list(before)
        for name, parameter in model.named_parameters():
            ours = average.module.get_parameter(name)
            assert not torch.equal(parameter, ours) or not parameter.grad.any()
        key = "stage1.2.gate.channel.reduce.weight"
        torch.testing.assert_close(state[key], (before[key] + model.state_dict()[key]) / 2)
        assert len(ww.status(average.module).gates) == 2

    def test_of_timm(self):
        from timm.utils import ModelEmaV3

        model = gated()
        average = ModelEmaV3(model, decay=0.5)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        step(model)
        average.update(model)
        after, state = model.state_dict(), average.module.state_dict()
        assert list(state) == list(before)
        for key, value in state.items():
            if value.is_floating_point():
                torch.testing.assert_close(value, (before[key] + after[key]) / 2)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
class TestPrograms:
    @pytest.fixture(autouse=True)
    def _fresh(self):
        torch.compiler.reset()

    @pytest.mark.parametrize("name", WHOLE)
    def test_compiles_to_one_graph(self, name):
        case = HOSTS[name]
        model = gated(name, "cbam")
        before = output(model, case)
        with torch.no_grad():
            compiled = torch.compile(model, fullgraph=True, backend="eager")(*case.images())
        torch.testing.assert_close(compiled, before)  # formulas in a program, kernels outside of it

    @pytest.mark.parametrize("gate", GATES)
    def test_every_gate_compiles(self, gate):
        case = HOSTS["in-place-add"]
        model = gated("in-place-add", gate, start="identity")
        before = output(model, case)
        with torch.no_grad():
            compiled = torch.compile(model, fullgraph=True, backend="eager")(*case.images())
        torch.testing.assert_close(compiled, before)  # formulas in a program, kernels outside of it

    def test_compiled_networks_heed_disabled(self):
        case = HOSTS["plain"]
        model = gated()
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        before = output(model, case)
        torch.testing.assert_close(output(compiled, case), before)
        with ww.disabled(model):
            assert same_output(compiled, case, output(case.build(), case))
        torch.testing.assert_close(output(compiled, case), before)

    @pytest.mark.slow
    def test_inductor(self):
        case = HOSTS["plain"]
        model = gated()
        with torch.no_grad():
            compiled = torch.compile(model, fullgraph=True)(*case.images())
        torch.testing.assert_close(compiled, output(model, case), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize(
        ("name", "gate", "strict"),
        [*(("in-place-add", gate, False) for gate in GATES), ("plain", "bam", True), ("plain", "cbam", True)],
    )
    def test_export_with_any_batch_and_size(self, name, gate, strict):
        model = gated(name, gate)
        sizes = {0: Dim("batch", min=1, max=64), 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
        example = torch.randn(2, 3, 16, 24)
        program = torch.export.export(model, (example,), dynamic_shapes=(sizes,), strict=strict).module()
        for shape in ((2, 3, 16, 24), (3, 3, 40, 24), (5, 3, 17, 31)):
            images = torch.randn(shape)
            with torch.no_grad():
                torch.testing.assert_close(program(images), model(images), rtol=1e-5, atol=1e-6)

    def test_exported_programs_keep_the_hosts_names(self):
        model = gated()
        program = torch.export.export(model, HOSTS["plain"].images())
        assert set(program.state_dict) <= set(model.state_dict()) | set(dict(model.named_parameters())) | set(
            dict(model.named_buffers())
        )

    @pytest.mark.parametrize("gate", GATES)
    @pytest.mark.parametrize("at", ["bottlenecks", r"layer\d\.\d\.bn2", r"layer\d\.\d\.conv1"])
    def test_folding_batch_norms_keeps_every_gate(self, at, gate):
        from torch.fx.experimental.optimization import fuse

        case = HOSTS["in-place-add"]
        model = gated("in-place-add", gate, at=at)
        folded = fuse(model)
        torch.testing.assert_close(output(folded, case), output(model, case), rtol=1e-4, atol=1e-5)
        count = len(ww.status(model).gates)
        gates = {node.target for node in folded.graph.nodes if ".gate" in str(node.target)}
        assert len({str(target).partition(".gate")[0] for target in gates}) == count
        with ww.disabled(model):
            assert not torch.allclose(output(folded, case), output(model, case), rtol=1e-3)


def test_training_goes_on_after_attaching():
    model = gated("in-training", "bam")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    step(model)
    moved = [name for name, p in model.named_parameters() if not torch.equal(p, before[name])]
    assert {"stage1.0.weight", "stage1.2.gate.channel.reduce.weight"} <= set(moved)
