"""What accelerate is told, read back by accelerate itself."""

import os
from unittest.mock import patch

import pytest
import yaml
from accelerate.commands import launch as accelerate_launch
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_multi_gpu_env
from pydantic import ValidationError
from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy

from hasse.data.errors import RecipeError
from hasse.data.settings import key_of
from hasse.stages.models import this_process as processes
from hasse.stages.train.distributed import accelerate_config as launch
from hasse.stages.train.distributed import settings as launch_settings
from hasse.stages.train.distributed.accelerate_config import accelerate_config, command
from hasse.stages.train.distributed.settings import FsdpSettings, LaunchSettings
from hasse.stages.train.methods import sft
from hasse.stages.train.optimiser import OptimiserSettings
from hasse.stages.train.settings import TrainSettings

TWO_MACHINES = LaunchSettings(processes=4, machines=2, main_address="10.0.0.1", main_port=4321)


@pytest.fixture
def gpus(monkeypatch):
    for module in (launch, launch_settings):
        monkeypatch.setattr(module, "visible_gpus", lambda: list("01234567"))


def understood(settings, folder, machine_rank=0):
    """The arguments that accelerate's launcher goes by, and the environment that it gives to processes."""
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(accelerate_config(settings, OptimiserSettings(), machine_rank)))
    words = command(config, folder / "spec.json")
    assert words[0] == "launch"
    arguments, *_ = accelerate_launch._validate_launch_command(
        accelerate_launch.launch_command_parser().parse_args(words[1:])
    )
    return arguments, prepare_multi_gpu_env(arguments)


def test_accelerate_is_told_of_processes_and_machines(tmp_path):
    arguments, _ = understood(TWO_MACHINES, tmp_path, machine_rank=1)
    assert arguments.multi_gpu
    assert not arguments.use_fsdp
    assert (arguments.nproc_per_node, arguments.nnodes, arguments.node_rank) == ("4", "2", 1)
    assert arguments.rdzv_endpoint == "10.0.0.1:4321"
    assert arguments.module
    assert arguments.training_script == "hasse.stages.train.distributed.worker"


def test_one_machine_takes_a_free_port(tmp_path):
    arguments, _ = understood(LaunchSettings(processes=2), tmp_path)
    assert arguments.nproc_per_node == "2"
    assert int(arguments.master_port) not in (0, 29500)


@pytest.mark.parametrize("offload", [False, True])
def test_accelerate_shards_as_the_recipe_says(tmp_path, offload):
    fsdp = FsdpSettings(layers=["LlamaDecoderLayer", "Block"], reshard_after_forward=False, cpu_offload=offload)
    arguments, environment = understood(LaunchSettings(processes=2, fsdp=fsdp), tmp_path)
    assert arguments.use_fsdp
    with patch.dict(os.environ, environment):
        plugin = FullyShardedDataParallelPlugin()
        assert processes.is_sharded()
        assert processes.is_offloaded() is offload
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is False
    assert plugin.transformer_cls_names_to_wrap == ["LlamaDecoderLayer", "Block"]
    assert type(plugin.cpu_offload) is (CPUOffloadPolicy if offload else OffloadPolicy)
    assert plugin.state_dict_type.name == "SHARDED_STATE_DICT"
    assert not plugin.activation_checkpointing
    assert not plugin.cpu_ram_efficient_loading


def test_precision_is_that_of_the_trainer(gpus):
    for precision, expected in {"auto": "bf16", "float32": "no"}.items():
        optimiser = OptimiserSettings(precision=precision)
        assert accelerate_config(TWO_MACHINES, optimiser, 0)["mixed_precision"] == expected


@pytest.mark.parametrize(
    ("prompts", "machines", "processes"), [(16, 1, 8), (12, 1, 6), (16, 2, 8), (7, 1, 7), (11, 1, 1)]
)
def test_as_many_gpus_are_taken_as_share_the_prompts_of_a_step(gpus, prompts, machines, processes):
    settled = LaunchSettings(machines=machines, main_address="a").with_processes(prompts)
    assert settled.processes == processes
    assert settled.total == processes * machines


def test_without_a_gpu_one_process_trains_and_is_not_launched(monkeypatch):
    monkeypatch.setattr(launch, "visible_gpus", list)
    settled = LaunchSettings().with_processes(8)
    assert settled.processes == 1
    assert not settled.needs_launcher
    assert LaunchSettings(fsdp=FsdpSettings()).with_processes(8).needs_launcher


def test_what_cannot_be_honoured_is_refused():
    with pytest.raises(RecipeError, match=r"3 processes on 2 machine\(s\) cannot share 8 prompts evenly"):
        LaunchSettings(processes=3, machines=2, main_address="a").with_processes(8)
    with pytest.raises(ValidationError, match="machines: 2 needs main_address"):
        LaunchSettings(machines=2)


def test_where_training_runs_does_not_enter_its_key():
    here, there = (
        TrainSettings(method=sft.Settings(), optimiser=OptimiserSettings(), seed=0, launch=settings)
        for settings in (LaunchSettings(), TWO_MACHINES)
    )
    assert key_of(here) == key_of(there)
