"""A process that serves the fake: `serving.py FAKES DELAY DRAIN_S [fail]`; a real one has a real signal."""

import importlib.util
import sys
from functools import partial

from llmrec.errors import ConfigError
from llmrec.serve.app import create_app
from llmrec.serve.http.logs import set_up_logs
from llmrec.serve.http.server import listen, serve


def main(fakes_path, delay, drain_s, *fail):
    spec = importlib.util.spec_from_file_location("llmrec_serve_fakes", fakes_path)
    fakes = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = fakes
    spec.loader.exec_module(fakes)
    config = fakes.make_config(port=0, engine={"drain_s": float(drain_s)})
    service = fakes.FakeService(config, delay=float(delay))
    if fail:
        service.start = partial(_fail)
    set_up_logs()
    app = create_app(service)
    started = serve(app, config, app.state.door, listen(config.host, config.port), lambda address: None)
    print("stopped" if service.stopped else "not stopped", flush=True)
    return 0 if started else 7


async def _fail():
    raise ConfigError("it does not start")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
