import subprocess
import sys

import pytest
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from transformers.utils import logging

from llmrec.models import quiet_transformers


@pytest.fixture(autouse=True)
def settings_as_before():
    before = logging.get_verbosity()
    logging.enable_progress_bar()
    yield
    logging.set_verbosity(before)
    logging.enable_progress_bar()


def state():
    return logging.get_verbosity(), logging.is_progress_bar_enabled(), are_progress_bars_disabled()


@pytest.mark.parametrize("bars", [True, False])
@pytest.mark.parametrize("hub_bars", [True, False])
def test_user_settings_come_back(bars, hub_bars):
    logging.set_verbosity_info()
    (logging.enable_progress_bar if bars else logging.disable_progress_bar)()
    (enable_progress_bars if hub_bars else disable_progress_bars)()
    before = state()
    with quiet_transformers(), quiet_transformers():
        assert not logging.is_progress_bar_enabled()
        assert logging.get_verbosity() == logging.CRITICAL
    assert state() == before


def test_settings_come_back_after_an_error():
    before = state()
    with pytest.raises(KeyError), quiet_transformers():
        raise KeyError
    assert state() == before


@pytest.mark.parametrize("value", ["0", "1"])
def test_hub_environment_variable_gives_no_warning(value):
    code = "from llmrec.models import quiet_transformers\nwith quiet_transformers(): pass"
    done = subprocess.run(
        [sys.executable, "-W", "error:Cannot", "-c", code],
        env={"HF_HUB_DISABLE_PROGRESS_BARS": value},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
