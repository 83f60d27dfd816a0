"""The engines: each is a context that starts one and gives `wave(concurrency) -> row`."""
import base64
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import workload

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "integration"))


@contextmanager
def llavad_process(program, checkpoint, kv_cache, threads, more="", preexec=None):
    """llavad, ready; gives (daemon, chat's stub, its protos, seconds until it was). Without `threads` as many as it wants."""
    os.environ["LLAVAD"] = str(program)
    import daemon_process
    pb, pb_grpc = daemon_process.generated_client()
    config = "dtype: bfloat16\nlog_level: warning\n" + (f"threads: {threads}\n" if threads else "") + more
    begin = time.perf_counter()
    with daemon_process.Daemon(checkpoint=checkpoint, kv_cache=kv_cache, config=config, preexec=preexec) as daemon, \
            daemon.channel() as channel:
        yield daemon, pb_grpc.ChatServiceStub(channel), pb, time.perf_counter() - begin


@contextmanager
def llavad(program, checkpoint, kv_cache, threads):
    """Also has `daemon`, and `ask(picture, text, on_tokens)`."""
    with llavad_process(program, checkpoint, kv_cache, threads) as (daemon, stub, pb, ready):

        def ask(picture, text, on_tokens, new_tokens=workload.NEW_TOKENS):
            request = pb.ChatRequest(
                messages=[pb.ChatMessage(role=pb.ROLE_USER, parts=[pb.MessagePart(image=picture), pb.MessagePart(text=text)])],
                sampling=pb.SamplingOptions(max_tokens=new_tokens, ignore_eos=True), return_token_ids=True)
            for event in stub.ChatStream(pb.ChatStreamRequest(request=request)):
                if event.token_ids:
                    on_tokens(len(event.token_ids))

        def wave(concurrency, first=0):
            pictures = {i: workload.jpeg(first + i) for i in range(workload.requests_in(concurrency))}
            run = workload.Wave("llavad bf16", concurrency, daemon.process.pid)
            return workload.run_wave(
                run, lambda i: ask(pictures[i], workload.text(first + i), lambda count: run.token(i, count)))
        wave.ask, wave.daemon, wave.ready_s = ask, daemon, ready
        wave.ready_mib = workload.memory(daemon.process.pid, "VmRSS") >> 20
        wave.loading_mib = workload.memory(daemon.process.pid, "VmHWM") >> 20
        yield wave


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextmanager
def llama_process(program, model, slots, threads, *more, preexec=None):
    """llama.cpp's server, up: one slot a client, no caches; gives (process, call(method, path, body))."""
    port = free_port()
    count = ["-t", str(threads), "-tb", str(threads)] if threads else []
    process = subprocess.Popen(
        [str(program), "-m", str(model), "--host", "127.0.0.1", "--port", str(port), *count, "-np", str(slots),
         "-c", str(1024 * slots), "--no-cache-prompt", "--cache-ram", "0", *more],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=preexec)

    def call(method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1800)
        connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
        return connection.getresponse()

    def is_up():
        try:
            return call("GET", "/health").status == 200
        except OSError:
            return False

    nothing = threading.Event()
    try:
        while not is_up():
            if process.poll() is not None:
                raise RuntimeError(f"llama-server ended with {process.returncode}")
            nothing.wait(0.1)
        yield process, call
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def llama_server(program, model, projector, slots, threads):
    with llama_process(program, model, slots, threads, "--mmproj", str(projector)) as (process, call):
        marker = json.loads(call("GET", "/props").read()).get("media_marker", "<__media__>")

        def ask(i, on_tokens, new_tokens=workload.NEW_TOKENS):
            prompt = f"USER: {marker}\n{workload.text(i)} ASSISTANT:"
            response = call("POST", "/completion", {
                "prompt": {"prompt_string": prompt, "multimodal_data": [base64.b64encode(workload.jpeg(i)).decode()]},
                "n_predict": new_tokens, "temperature": 0, "top_k": 1, "samplers": ["top_k"], "ignore_eos": True,
                "stream": True, "return_tokens": True, "cache_prompt": False})
            counted, last = 0, {}
            for line in response:
                if not line.startswith(b"data: {"):
                    continue
                last = json.loads(line[6:])
                if not last.get("stop") and last.get("tokens"):
                    on_tokens(len(last["tokens"]))
                    counted += len(last["tokens"])
            on_tokens(last["tokens_predicted"] - counted)  # ids of unfinished characters are kept back

        def wave(concurrency):
            ask(999, lambda _: None, 4)
            run = workload.Wave("llama.cpp bf16", concurrency, process.pid)
            return workload.run_wave(run, lambda i: ask(i, lambda count: run.token(i, count)))
        yield wave


class Texts:
    """An engine that is asked texts: stream(i) gives how many tokens have come, again and again; closed, it is cancelled."""

    def __init__(self, name, pid, stream):
        self.name, self.pid, self.stream = name, pid, stream


TEXT_TOKENS = 128


@contextmanager
def llavad_texts(program, checkpoint, threads, preexec):
    # Random weights repeat themselves, and drafts would come true more often than they do.
    with llavad_process(program, checkpoint, "256MiB", threads, "draft_tokens: 0\n", preexec) as (daemon, stub, pb, _):

        def stream(i):
            call = stub.ChatStream(pb.ChatStreamRequest(request=pb.ChatRequest(
                messages=[pb.ChatMessage(role=pb.ROLE_USER, parts=[pb.MessagePart(text=workload.text(i))])],
                sampling=pb.SamplingOptions(max_tokens=TEXT_TOKENS, ignore_eos=True), return_token_ids=True)))
            try:
                yield from (len(event.token_ids) for event in call if event.token_ids)
            finally:
                call.cancel()
        yield Texts("llavad", daemon.process.pid, stream)


@contextmanager
def llama_texts(program, model, slots, threads, preexec):
    with llama_process(program, model, slots, threads, preexec=preexec) as (process, call):

        def stream(i):
            response = call("POST", "/completion", {
                "prompt": f"USER: {workload.text(i)} ASSISTANT:", "n_predict": TEXT_TOKENS, "temperature": 0, "top_k": 1,
                "samplers": ["top_k"], "ignore_eos": True, "stream": True, "timings_per_token": True, "cache_prompt": False})
            if response.status != 200:
                raise RuntimeError(f"llama-server answers with {response.status}: {response.read(300)}")
            counted = 0  # tokens that end no character yet come with a later one
            with response:
                for line in response:
                    if line.startswith(b"data: {"):
                        event = json.loads(line[6:])
                        total = event["tokens_predicted"] if event["stop"] else event["timings"]["predicted_n"]
                        yield total - counted
                        counted = total
        yield Texts("llama.cpp", process.pid, stream)


@contextmanager
def openvino(model, label, threads):
    """OpenVINO GenAI's continuous batching, in this process: run it in one of its own."""
    import numpy as np
    import openvino
    import openvino_genai as genai
    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = 1
    scheduler.enable_prefix_caching = False
    scheduler.max_num_batched_tokens = 256
    options = {"INFERENCE_NUM_THREADS": threads}
    pipe = genai.ContinuousBatchingPipeline(str(model), scheduler, "CPU", options, {}, options)
    config = genai.GenerationConfig()
    config.max_new_tokens = config.min_new_tokens = workload.NEW_TOKENS
    config.ignore_eos, config.do_sample, config.apply_chat_template = True, False, False

    def drive(run):
        total, following, live = workload.requests_in(run.concurrency), 0, {}
        while following < total or live:
            room = range(following, min(total, following + run.concurrency - len(live)))
            for i in room:
                run.start(i)  # they arrive together, and wait for each other's pictures
            for i in room:  # GenAI puts the newline after a picture itself
                image = openvino.Tensor(np.asarray(workload.picture(i))[None])
                live[i] = pipe.add_request(i, f"USER: <image>{workload.text(i)} ASSISTANT:", [image], config)
            following += len(room)
            pipe.step()
            for i, handle in list(live.items()):
                while handle.can_read():
                    for out in handle.read().values():
                        run.token(i, len(out.generated_ids))
                if len(run.tokens[i]) >= workload.NEW_TOKENS:
                    del live[i]

    def wave(concurrency):
        run = workload.Wave(f"openvino {label}", concurrency, os.getpid())
        with run:
            drive(run)
        return run.row()
    yield wave
