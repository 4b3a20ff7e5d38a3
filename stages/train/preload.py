"""Heavy imports of training. The process that forks GPU stages imports them once, so that each stage starts fast."""

import logging
import os
import warnings

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch.utils.tensorboard  # noqa: F401  takes seconds to import
import transformers.trainer
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM  # noqa: F401

import hasse.stages.train.fit  # noqa: F401

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()  # a new reward head is "missing" from its checkpoint, as it must be
warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # of names that libraries still use
# "mtime may not be reliable": checkpoints are told apart by their step, not by their time.
logging.getLogger("transformers.trainer_utils").setLevel(logging.ERROR)
