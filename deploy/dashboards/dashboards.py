#!/usr/bin/env python3
"""Makes the Grafana dashboards of this folder.

Usage: dashboards.py           writes them
       dashboards.py --check   exit code 1 when a file is not what would be written
"""
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
OF = 'job=~"$job",instance=~"$instance"'
WIDTH, HEIGHT = 8, 8  # of Grafana's 24 columns


def rate(metric, by="", labels=""):
    """Events a second."""
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{{{OF}{labels}}}[$__rate_interval]))"


def quantile(of, metric):
    return f"histogram_quantile({of}, {rate(metric + '_bucket', 'le')})"


def mean(metric):
    return f"{rate(metric + '_sum')} / {rate(metric + '_count')}"


def gauge(metric, by="", labels="", how="sum"):
    return f"{how}{f' by ({by})' if by else ''} ({metric}{{{OF}{labels}}})"


def panel(kind, title, about, unit, targets, width=WIDTH, **more):
    """`targets`: {legend: expression}."""
    return {
        "type": kind, "title": title, "description": about, "datasource": SOURCE, "width": width,
        "fieldConfig": {"defaults": {"unit": unit, **more.pop("defaults", {})}, "overrides": []},
        "options": more.pop("options", {}),
        "targets": [{"refId": chr(ord("A") + i), "datasource": SOURCE, "expr": expr, "legendFormat": legend, **more}
                    for i, (legend, expr) in enumerate(targets.items())],
    }


def lines(title, about, unit, targets, stack=False, **defaults):
    custom = {"fillOpacity": 60 if stack else 10, "showPoints": "never",
              **({"stacking": {"mode": "normal", "group": "A"}} if stack else {})}
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
    return panel("timeseries", title, about, unit, targets, defaults={"custom": custom, **defaults},
                 options={"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}})


def stat(title, about, unit, expr, legend="", **defaults):
    return panel("stat", title, about, unit, {legend or title: expr}, width=4, defaults=defaults,
                 options={"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                          "colorMode": "value", "graphMode": "area", "textMode": "value_and_name" if legend else "auto"})


def heat(title, about, metric, unit="s"):
    """A histogram over time: each column is an interval, each row a bucket."""
    return panel("heatmap", title, about, unit, {"{{le}}": rate(metric + "_bucket", "le")}, format="heatmap",
                 options={"calculate": False, "cellGap": 0, "yAxis": {"unit": unit},
                          "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
                          "tooltip": {"mode": "single", "showColorScale": True, "yHistogram": True}})


def table(title, about, unit, expr, width=WIDTH):
    return panel("table", title, about, unit, {"": expr}, width=width, instant=True, format="table")


def percentiles(metric):
    return {f"p{int(of * 100)}": quantile(of, metric) for of in (0.5, 0.9, 0.99)}


def row(title):
    return {"type": "row", "title": title, "collapsed": False, "panels": []}


def share(part, whole):
    return f"{part} / {whole}"


OVERVIEW = [
    row("Now"),
    stat("Replicas that are ready", "Of those that Prometheus scrapes.", "short", gauge("llava_ready")),
    stat("Requests a second", "By all protocols, however they ended.", "reqps", rate("llava_requests_total")),
    stat("Answered", "Share of requests that were not failed or refused by llavad.", "percentunit", share(
        rate("llava_requests_total", labels=',status!~"INTERNAL|UNKNOWN|UNAVAILABLE|DATA_LOSS|RESOURCE_EXHAUSTED"'),
        rate("llava_requests_total")), min=0, max=1),
    stat("First token, p90", "From a request's arrival.", "s", quantile(0.9, "llava_time_to_first_token_seconds")),
    stat("Waiting", "Answers without a place in the batch.", "short", gauge("llava_requests_waiting")),
    stat("Generated tokens a second", "Of all answers.", "short", rate("llava_generated_tokens_total")),
    row("Traffic and errors"),
    lines("Requests by protocol", "", "reqps", {"{{protocol}}": rate("llava_requests_total", "protocol")}, stack=True),
    lines("Requests by how they ended", "stop and length are whole answers.", "reqps",
          {"{{status}} {{reason}}": rate("llava_requests_total", "status, reason")}, stack=True),
    lines("Refused before an engine saw them", "Which bound was reached: see llavad's log for its value.", "reqps",
          {"{{reason}}": rate("llava_rejections_total", "reason")}, stack=True),
    row("Latency"),
    heat("Time to the first token", "", "llava_time_to_first_token_seconds"),
    lines("Time to the first token", "", "s", percentiles("llava_time_to_first_token_seconds")),
    lines("Between tokens", "", "s", percentiles("llava_inter_token_seconds")),
    heat("Between tokens", "", "llava_inter_token_seconds"),
    heat("Whole requests", "", "llava_request_seconds"),
    lines("Whole requests", "", "s", percentiles("llava_request_seconds")),
    row("Saturation"),
    lines("Requests under way", "", "short", {
        "running": gauge("llava_requests_running"), "waiting": gauge("llava_requests_waiting"),
        "preparing": gauge("llava_requests_preparing"), "paused (slow readers)": gauge("llava_requests_paused")}),
    lines("KV cache in use", "Cached blocks are given up when others need them.", "percentunit", {
        "{{instance}}": share(gauge("llava_kv_blocks", "instance", ',state="used"'), gauge("llava_kv_blocks", "instance"))},
        min=0, max=1),
    lines("Processors and memory", "", "short", {"cores {{instance}}": rate("process_cpu_seconds_total", "instance")}),
    lines("Resident memory", "", "bytes", {"{{instance}}": gauge("process_resident_memory_bytes", "instance")}),
    lines("Open files", "Of those that the system allows.", "percentunit", {
        "{{instance}}": share(gauge("process_open_fds", "instance"), gauge("process_max_fds", "instance"))}, min=0),
    table("What is running", "", "short",
          f"max by (instance, model, version, dtype, device) (llava_model_info{{{OF}}})", width=16),
    table("Builds", "", "short", f"count by (version) (llava_build_info{{{OF}}})"),
]

PICTURES = [
    row("Where a request's time goes"),
    lines("Mean time of each phase", "Stacked: together they are about a request's mean time.", "s", {
        phase: mean(f"llava_{phase}_seconds") for phase in ("prepare", "queue", "encode", "prefill", "decode")}, stack=True),
    lines("Ninth decile of each phase", "", "s", {
        phase: quantile(0.9, f"llava_{phase}_seconds") for phase in ("prepare", "queue", "encode", "prefill", "decode")}),
    heat("In the queue", "From arrival to the first step.", "llava_queue_seconds"),
    heat("Prepared: pictures, template, tokenizer", "", "llava_prepare_seconds"),
    heat("Vision encoder", "", "llava_encode_seconds"),
    heat("Prefill", "From the first step to the first token.", "llava_prefill_seconds"),
    heat("Decode", "From the first token to the end.", "llava_decode_seconds"),
    row("Pictures"),
    lines("Pictures decoded a second", "", "short", {"pictures": rate("llava_decode_image_seconds_count")}),
    heat("Decoding and scaling one picture", "", "llava_decode_image_seconds"),
    lines("Pictures of a request", "", "short", {"mean": mean("llava_request_images"),
                                                 "p99": quantile(0.99, "llava_request_images")}),
    row("Caches"),
    lines("Pictures found in the cache", "So many were not encoded anew.", "percentunit", {"hits": share(
        rate("llava_image_cache_requests_total", labels=',result="hit"'), rate("llava_image_cache_requests_total"))},
        min=0, max=1),
    lines("Picture cache", "", "bytes", {"{{instance}}": gauge("llava_image_cache_bytes", "instance")}),
    lines("Prompt tokens found in the prefix cache", "", "percentunit", {"hits": share(
        rate("llava_prefix_cache_hit_tokens_total"), rate("llava_prefix_cache_queried_tokens_total"))}, min=0, max=1),
    lines("Prompt tokens", "", "short", {
        "all": rate("llava_prompt_tokens_total"), "of pictures": rate("llava_image_tokens_total"),
        "spared by the prefix cache": rate("llava_cached_tokens_total")}),
    heat("Prompt tokens of a request", "", "llava_request_prompt_tokens", "short"),
    heat("Generated tokens of a request", "", "llava_request_generated_tokens", "short"),
]

ENGINE = [
    row("Steps"),
    lines("Steps a second", "", "ops", {"{{instance}}": rate("llava_step_seconds_count", "instance")}),
    heat("Time of a step", "", "llava_step_seconds"),
    lines("Time of a step", "", "s", percentiles("llava_step_seconds")),
    heat("Tokens of a step", "At most max_batch_tokens.", "llava_step_tokens", "short"),
    heat("Sequences of a step", "At most max_running.", "llava_step_sequences", "short"),
    lines("Of a step: deciding what runs", "", "percentunit", {"share": share(
        rate("llava_step_schedule_seconds_sum"), rate("llava_step_seconds_sum"))}, min=0),
    lines("Failed steps", "", "ops", {"{{instance}}": rate("llava_failed_steps_total", "instance")}),
    row("Batch"),
    lines("Running", "", "short", {"{{instance}}": gauge("llava_requests_running", "instance")}, stack=True),
    lines("Waiting", "", "short", {"{{instance}}": gauge("llava_requests_waiting", "instance")}, stack=True),
    lines("Tokens a second", "", "short", {"prompt": rate("llava_prompt_tokens_total"),
                                           "generated": rate("llava_generated_tokens_total")}),
    lines("Guessed tokens a second", "Of prompt lookup (draft_tokens): each one that came true has saved a step.", "short",
          {"guessed": rate("llava_drafted_tokens_total"), "came true": rate("llava_true_drafts_total")}),
    row("KV cache"),
    lines("Blocks by what they hold", "", "short", {"{{state}}": gauge("llava_kv_blocks", "state")}, stack=True),
    lines("Preemptions", "Sequences that lost their blocks to others for a while: the cache is too small for what runs.",
          "ops", {"{{instance}}": rate("llava_preemptions_total", "instance")}),
    lines("Steps until a cancelled request let go", "0 or 1 is right.", "short",
          {"p99": f"histogram_quantile(0.99, {gauge('llava_cancel_steps_bucket', 'le')})"}),
]

RELOAD = [
    row("Versions"),
    table("Versions and their states", "", "short",
          f"max by (instance, version, state) (llava_model_version_state{{{OF}}} == 1)", width=16),
    lines("Traffic of each version", "", "percentunit",
          {"{{version}}": gauge("llava_model_version_traffic_ratio", "version", how="avg")}, stack=True, min=0, max=1),
    lines("Replicas by version and state", "", "short",
          {"{{version}} {{state}}": f"count by (version, state) (llava_model_version_state{{{OF}}} == 1)"}),
    lines("Versions taken in", "", "short", {"{{outcome}} {{reason}}": gauge("llava_model_reloads_total", "outcome, reason")}),
    lines("How canaries ended", "", "short",
          {"{{verdict}} {{reason}}": gauge("llava_model_canary_verdicts_total", "verdict, reason")}),
    lines("Time to take a version in", "From verifying to ready to serve: the mean of all since the start.", "s", {
        "{{instance}}": share(gauge("llava_model_load_seconds_sum", "instance"),
                              gauge("llava_model_load_seconds_count", "instance"))}),
    row("What users notice of it"),
    lines("Replicas that are ready", "", "short", {"ready": gauge("llava_ready"), "all": gauge("llava_ready", how="count")}),
    lines("Time to the first token", "", "s", percentiles("llava_time_to_first_token_seconds")),
    lines("Requests by how they ended", "", "reqps",
          {"{{status}} {{reason}}": rate("llava_requests_total", "status, reason")}, stack=True),
    lines("Resident memory", "Two versions are held while one is loaded, and the one before is kept.", "bytes",
          {"{{instance}}": gauge("process_resident_memory_bytes", "instance")}),
]

TENANTS = [
    row("Tokens"),
    lines("Generated tokens by tenant", "", "short",
          {"{{tenant}}": rate("llava_tenant_tokens_total", "tenant", ',kind="generated"')}, stack=True),
    lines("Prompt tokens by tenant", "", "short",
          {"{{tenant}}": rate("llava_tenant_tokens_total", "tenant", ',kind="prompt"')}, stack=True),
    table("Tokens over the time shown", "", "short",
          f"sort_desc(sum by (tenant, kind) (increase(llava_tenant_tokens_total{{{OF}}}[$__range])))"),
    lines("Share of the busiest five", "", "percentunit", {"{{tenant}}": share(
        f"topk(5, {rate('llava_tenant_tokens_total', 'tenant')})", f"on () group_left () {rate('llava_tenant_tokens_total')}")},
        stack=True, min=0, max=1),
    row("What they are refused"),
    lines("Refusals by reason", "Bounds of one tenant and of all together.", "reqps",
          {"{{reason}}": rate("llava_rejections_total", "reason")}, stack=True),
    lines("Requests by how they ended", "", "reqps",
          {"{{status}} {{reason}}": rate("llava_requests_total", "status, reason")}, stack=True),
]

TRAINING = [
    row("Jobs of the service"),
    stat("Running", "", "short", gauge("llava_training_jobs", labels=',state="running"')),
    stat("Queued", "", "short", gauge("llava_training_jobs", labels=',state="queued"')),
    stat("Failed", "", "short", gauge("llava_training_jobs", labels=',state="failed"')),
    stat("Succeeded", "", "short", gauge("llava_training_jobs", labels=',state="succeeded"')),
    lines("Jobs by state", "", "short", {"{{state}}": gauge("llava_training_jobs", "state")}, stack=True),
    lines("Loss of running jobs", "", "short", {"job {{exported_job}}": f"llava_training_job_loss{{{OF}}}"}),
    lines("Steps of running jobs", "", "short", {"job {{exported_job}}": f"llava_training_job_step{{{OF}}}"}),
    row("A run (llava-train run --metrics)"),
    lines("Loss", "Mean over the label tokens of a step.", "short", {"{{instance}}": f"llava_training_loss{{{OF}}}"}),
    lines("Gradient norm", "Before clipping.", "short", {"{{instance}}": f"llava_training_gradient_norm{{{OF}}}"}),
    lines("Learning rate", "", "short", {"{{instance}}": f"llava_training_rate{{{OF}}}"}),
    lines("Tokens a second", "Pictures included.", "short", {"{{instance}}": rate("llava_training_tokens_total", "instance")}),
    lines("Samples a second", "", "short", {"{{instance}}": rate("llava_training_samples_total", "instance")}),
    heat("Time of a step", "", "llava_training_step_seconds"),
    lines("Steps a second", "", "ops", {"{{instance}}": rate("llava_training_steps_total", "instance")}),
    lines("Padding", "Share of positions that were computed for nothing.", "percentunit",
          {"{{instance}}": f"llava_training_padding_ratio{{{OF}}}"}, min=0, max=1),
    lines("Rows that taught nothing", "Bad: unreadable. Masked: no label left.", "short",
          {"{{reason}}": gauge("llava_training_rows_left_out_total", "reason")}),
    lines("Stage", "", "percentunit", {"{{instance}}": f"llava_training_stage_progress_ratio{{{OF}}}"}, min=0, max=1),
    lines("Left of the stage", "At the pace so far.", "s", {"{{instance}}": f"llava_training_stage_left_seconds{{{OF}}}"}),
    lines("Resident memory", "", "bytes", {"{{instance}}": f"llava_training_resident_memory_bytes{{{OF}}}"}),
]

# File, title, what it is about, its panels, the metric whose labels fill the variables.
DASHBOARDS = [
    ("overview", "Overview", "Traffic, errors, latency, saturation, versions", OVERVIEW, "llava_model_info"),
    ("pictures", "Pictures and phases", "Where a request's time goes, caches, the encoder", PICTURES, "llava_model_info"),
    ("engine", "Engine", "Batch, KV blocks, preemptions, steps", ENGINE, "llava_model_info"),
    ("reload", "Reload and canary", "New versions of the model: how they come, and what users notice", RELOAD,
     "llava_model_info"),
    ("tenants", "Tenants", "Who uses it, and whom it refuses", TENANTS, "llava_model_info"),
    ("training", "Training", "Jobs and runs of llava-train", TRAINING, ""),
]


def variable(name, label, query):
    return {"type": "query", "name": name, "label": label, "datasource": SOURCE, "refresh": 2,
            "query": {"query": query, "refId": name}, "includeAll": True, "multi": True, "sort": 1,
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]}}


def variables(metric):
    out = [{"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "current": {}}]
    if not metric:
        training = '{__name__=~"llava_training_(jobs|steps_total)"}'
        return [*out, variable("job", "Job", f"label_values({training}, job)"),
                variable("instance", "Instance", f"label_values({training[:-1]}, job=~\"$job\"}}, instance)")]
    out.append(variable("job", "Job", f"label_values({metric}, job)"))
    chosen = 'job=~"$job"'
    for name in ("model", "version", "instance"):
        out.append(variable(name, name.capitalize(), f"label_values({metric}{{{chosen}}}, {name})"))
        chosen += f',{name}=~"${name}"'
    return out


def annotations(metric):
    if not metric:
        return {"list": []}
    return {"list": [{
        "name": "Version changes", "enable": True, "hide": False, "iconColor": "purple", "datasource": SOURCE,
        "expr": f"{metric}{{{OF}}} unless {metric}{{{OF}}} offset 1m", "step": "60s",
        "titleFormat": "{{model}} on {{instance}}", "textFormat": "{{version}}", "tagKeys": "model,version"}]}


def placed(panels):
    """With ids, and a place for each: from the left, a new line when it is full."""
    out, x, y, tallest = [], 0, 0, 0
    for number, one in enumerate(panels, 1):
        one = dict(one)
        width = one.pop("width", 24)
        height = 1 if one["type"] == "row" else 4 if one["type"] == "stat" else HEIGHT
        if x + width > 24 or one["type"] == "row":
            x, y, tallest = 0, y + tallest, 0
        out.append({"id": number, "gridPos": {"x": x, "y": y, "w": width, "h": height}, **one})
        x, tallest = (24 if one["type"] == "row" else x + width), max(tallest, height)
    return out


def dashboard(file, title, about, panels, metric):
    links = [{"title": other, "type": "link", "url": f"/d/llavad-{name}", "keepTime": True, "includeVars": True,
              "icon": "dashboard", "tags": [], "asDropdown": False, "targetBlank": False, "tooltip": ""}
             for name, other, *_ in DASHBOARDS if name != file]
    return {"uid": f"llavad-{file}", "title": f"llavad: {title}", "description": about, "tags": ["llavad"], "editable": True,
            "schemaVersion": 39, "version": 1, "timezone": "", "refresh": "30s", "graphTooltip": 1,
            "time": {"from": "now-1h", "to": "now"}, "templating": {"list": variables(metric)},
            "annotations": annotations(metric), "links": links, "panels": placed(panels)}


def main():
    for one in DASHBOARDS:
        path, text = HERE / f"{one[0]}.json", json.dumps(dashboard(*one), indent=1) + "\n"
        if sys.argv[1:] != ["--check"]:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            raise SystemExit(f"{path} is out of date: run deploy/dashboards/dashboards.py")


if __name__ == "__main__":
    main()
