"""New versions go live under load without losing a request, and go back: over real sockets, with real checkpoints."""
import json
import tempfile
import unittest

import grpc

from daemon_process import wait_until
from http_requests import CHAT, http
from published import GOLDEN, Published, rolled, stuck, wide
from reload_daemon import Llavad, Load, models_pb, pb, question

AT_ONCE = "canary_percent: 0\n"
# Judged by what it says alone: times on a busy machine are chance.
JUDGED = "canary_percent: 50\ncanary_min_answers: 8\ncanary_answers: 30\ncanary_slower_percent: 100000\n"


class ReloadTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.published = Published(folder.name + "/models")
        self.watch = f"watch: {self.published.root}\n"

    def test_streams_go_on_while_versions_change(self):
        versions = [self.published.publish()[1]]
        with Llavad(self.watch + AT_ONCE + "keep_previous: false\n").wait_ready() as daemon, Load(daemon) as load:
            for rows in (1, 2, 3):
                load.wait_answers(5)
                versions.append(self.published.publish(rolled(rows))[1])
                daemon.wait_state(versions[-1], "live")
                asked = daemon.ask()
                self.assertEqual(asked[0], versions[-1])  # from the flip on
                load.wait_answers(5, versions[-1])
            daemon.wait_state(versions[2], "freed")
        load.check(self)
        self.assertEqual({answer[0] for answer in load.answers}, set(versions))
        self.assertEqual(daemon.process.returncode, 0)

    def test_caches_never_cross_versions(self):
        _, old = self.published.publish()
        with Llavad(self.watch + AT_ONCE).wait_ready() as daemon:
            first = daemon.ask("What is this?", "landscape.png")
            self.assertEqual(daemon.ask("What is this?", "landscape.png"), first)  # from the caches
            _, new = self.published.publish(rolled(1))
            daemon.wait_state(new, "live")
            answer = daemon.chat.Chat(question("What is this?", "landscape.png"))
            self.assertEqual(answer.model_version, new)
            self.assertEqual((answer.usage.cached_tokens, answer.usage.cached_images), (0, 0))
            self.assertNotEqual(tuple(answer.choices[0].token_ids), first[1])
            daemon.models.Rollback(models_pb.RollbackRequest(reason="test"))
            self.assertEqual(daemon.ask("What is this?", "landscape.png"), first)

    def test_rollback_is_at_once_and_is_remembered(self):
        _, old = self.published.publish()
        with Llavad(self.watch + AT_ONCE).wait_ready() as daemon, Load(daemon) as load:
            folder, new = self.published.publish(rolled(1))
            daemon.wait_state(new, "live")
            self.assertEqual(daemon.state(old), "kept")
            daemon.models.Rollback(models_pb.RollbackRequest(reason="odd answers"))
            self.assertEqual(daemon.ask()[0], old)
            load.wait_answers(5)
            daemon.wait_state(new, "rejected")
            self.assertIn("odd answers", daemon.versions()[new].reason)
            self.assertIn("odd answers", daemon.logged())
            with self.assertRaises(grpc.RpcError) as again:
                daemon.models.Rollback(models_pb.RollbackRequest())
            self.assertEqual(again.exception.code(), grpc.StatusCode.FAILED_PRECONDITION)
            # After a restart it is not live again at once.
            with Llavad(self.watch + AT_ONCE).wait_ready() as again:
                self.assertEqual(again.ask()[0], old)
                self.assertEqual(again.state(new), "rejected")
            # Only somebody who asks for it gets it again.
            self.assertEqual(daemon.models.Reload(models_pb.ReloadRequest()).version.version, new)
            self.assertEqual(daemon.state(new), "live")
        load.check(self)

    def test_a_canary_is_sticky_and_is_promoted_when_it_is_good(self):
        _, old = self.published.publish()
        # The golden checkpoint has learned nothing, so what it says speaks neither for a version nor against it.
        config = (self.watch + JUDGED.replace("canary_percent: 50", "canary_percent: 30")
                  + "canary_bad_answers_percent: 100\ncanary_endless_percent: 100\n")
        with Llavad(config).wait_ready() as daemon:
            _, new = self.published.publish(rolled(1))
            daemon.wait_state(new, "canary")
            seen = {}
            for i in range(24):
                seen[i] = daemon.ask(f"Question {i}", max_tokens=1)[0]
            self.assertEqual(set(seen.values()), {old, new})
            for i in range(6):  # the next turn of a conversation
                request = question(f"Question {i}", max_tokens=1)
                request.messages.append(pb.ChatMessage(role=pb.ROLE_ASSISTANT, parts=[pb.MessagePart(text="Yes.")]))
                request.messages.append(pb.ChatMessage(role=pb.ROLE_USER, parts=[pb.MessagePart(text="Really?")]))
                self.assertEqual(daemon.chat.Chat(request).model_version, seen[i])
            daemon.models.SetTraffic(models_pb.SetTrafficRequest(share=1))
            self.assertEqual({daemon.ask(f"Question {i}", max_tokens=1)[0] for i in range(6)}, {new})
            with Load(daemon) as load:
                daemon.wait_state(new, "live")
            load.check(self)
            self.assertEqual(daemon.state(old), "kept")
            verdicts = {k: v for k, v in daemon.metrics().items() if k.startswith("llava_model_canary_verdicts_total")}
            self.assertEqual(verdicts, {'llava_model_canary_verdicts_total{reason="answers",verdict="promoted"}': 1})

    def test_a_canary_by_tenant(self):
        _, old = self.published.publish()
        config = self.watch + JUDGED + "canary_by: tenant\ncanary_answers: 1000\n"
        with Llavad(config.replace("canary_answers: 30\n", "")).wait_ready() as daemon:
            _, new = self.published.publish(rolled(1))
            daemon.wait_state(new, "canary")
            by_tenant = {}
            for i in range(12):
                for text in ("one", "two"):
                    answer = daemon.chat.Chat(question(text, max_tokens=1), metadata=[("x-tenant", f"tenant-{i}")])
                    by_tenant.setdefault(i, set()).add(answer.model_version)
            self.assertTrue(all(len(versions) == 1 for versions in by_tenant.values()))
            self.assertEqual(set.union(*by_tenant.values()), {old, new})
            daemon.models.Promote(models_pb.PromoteRequest())
            self.assertEqual(daemon.ask()[0], new)

    def test_a_degenerate_version_is_rolled_back_by_itself(self):
        _, old = self.published.publish()
        with Llavad(self.watch + JUDGED).wait_ready() as daemon, Load(daemon, max_tokens=40) as load:
            load.wait_answers(3)
            _, bad = self.published.publish(stuck)
            daemon.wait_state(bad, "rejected")
            self.assertIn("rolled back: ", daemon.versions()[bad].reason)
            self.assertIn("canary", [state for version, state in daemon.events() if version == bad])
            load.wait_answers(5, old)
            self.assertEqual(daemon.versions()[old].traffic, 1)
            verdicts = [k for k in daemon.metrics() if k.startswith("llava_model_canary_verdicts_total")]
            self.assertEqual(len(verdicts), 1)
            self.assertIn('verdict="rolled_back"', verdicts[0])
        load.check(self)

    def test_latest_goes_back_to_a_version_that_still_answers(self):
        folder, old = self.published.publish(edit=wide)
        with Llavad(self.watch + AT_ONCE + "keep_previous: false\n").wait_ready() as daemon:
            request = pb.ChatStreamRequest(request=question("Go on.", max_tokens=100, ignore_eos=True))
            stream = daemon.chat.ChatStream(request)
            tokens = len(next(stream).token_ids)
            _, new = self.published.publish()
            daemon.wait_state(new, "live")
            self.assertEqual(daemon.state(old), "draining")
            self.published.point(folder)
            self.assertEqual(tokens + sum(len(event.token_ids) for event in stream), 100)
            daemon.wait_state(old, "live")
            self.assertEqual(daemon.ask()[0], old)

    def test_two_reloads_at_once(self):
        self.published.publish()
        with Llavad(self.watch + AT_ONCE).wait_ready() as daemon, Load(daemon) as load:
            first, one = self.published.write(rolled(1))
            second, two = self.published.write(rolled(2))
            calls = [daemon.models.Load.future(models_pb.LoadRequest(path=str(folder)))
                     for folder in (first, second, first, second)]
            self.assertEqual([call.result().version.version for call in calls[:2]], [one, two])
            for call in calls[2:]:
                call.result()
            self.assertIn(daemon.ask()[0], (one, two))
            states = sorted(v.state for v in daemon.versions().values())
            self.assertEqual(states.count(models_pb.VERSION_STATE_LIVE), 1)
        load.check(self)

    def test_swap_keeps_requests_waiting(self):
        _, old = self.published.publish()
        with Llavad(self.watch + "reload: swap\n").wait_ready() as daemon, Load(daemon, people=4) as load:
            for rows in (1, 2):
                load.wait_answers(4)
                _, new = self.published.publish(rolled(rows))
                daemon.wait_state(new, "live")
                self.assertEqual(daemon.state(old), "freed")
                load.wait_answers(4, new)
                old = new
            # What cannot be loaded after all: the old one comes back.
            with self.assertRaises(grpc.RpcError):
                daemon.load(self.published.write(stuck, probes=[probe([5, 6, 7])])[0])
            self.assertEqual(daemon.state(old), "live")
            load.wait_answers(4, old)
        load.check(self)

    def test_swap_says_how_long_to_those_whom_it_cannot_keep(self):
        _, old = self.published.publish(edit=wide)
        with Llavad(self.watch + "reload: swap\nqueue_requests: 3\n").wait_ready() as daemon:
            # Somebody who reads a long answer holds the old version, and so the swap.
            request = pb.ChatStreamRequest(request=question("Go on.", max_tokens=100, ignore_eos=True))
            stream = daemon.chat.ChatStream(request)
            tokens = len(next(stream).token_ids)
            _, new = self.published.publish()
            daemon.wait_state(old, "draining")
            self.assertEqual(daemon.get("/readyz")[0], 503)
            calls = [daemon.chat.Chat.future(question(f"Question {i}")) for i in range(6)]
            wait_until(lambda: sum(call.done() for call in calls) == 4, "two wait, the others are refused")
            for call in calls:
                if call.done():
                    self.assertEqual(call.code(), grpc.StatusCode.UNAVAILABLE)
                    self.assertRegex(call.details(), r"a new version of golden is being loaded, for about [\d.]+ s more")
                    self.assertIn("grpc-status-details-bin", dict(call.trailing_metadata()))  # RetryInfo
            status, headers, body = http(daemon, CHAT, {"messages": [{"role": "user", "content": "Hello"}]})
            self.assertEqual(status, 503, body)
            self.assertGreater(int(headers["Retry-After"]), 0)
            self.assertEqual(tokens + sum(len(event.token_ids) for event in stream), 100)
            wait_until(lambda: all(call.done() for call in calls), "those who waited are answered")
            answered = [call.result().model_version for call in calls if call.code() == grpc.StatusCode.OK]
            self.assertEqual(answered, [new, new])

    def test_waits_for_the_first_version_and_says_what_it_looks_for(self):
        with Llavad(self.watch + AT_ONCE) as daemon:
            self.assertEqual(daemon.get("/healthz")[0], 200)
            wait_until(lambda: f"{self.published.root}/latest" in daemon.get("/readyz")[1], "it says what it waits for")
            self.assertEqual(daemon.get("/readyz")[0], 503)
            with self.assertRaises(grpc.RpcError) as refused:
                daemon.ask()
            self.assertEqual(refused.exception.code(), grpc.StatusCode.FAILED_PRECONDITION)
            _, version = self.published.publish()
            daemon.wait_ready()
            self.assertEqual(daemon.ask()[0], version)

    def test_waits_for_a_call_when_nothing_is_configured(self):
        with Llavad("") as daemon:
            wait_until(lambda: "ModelService.Load" in daemon.get("/readyz")[1], "it says what it waits for")
            daemon.load(GOLDEN)
            self.assertTrue(daemon.ready())
            daemon.ask()

    def test_probes_must_give_their_tokens(self):
        with Llavad(self.watch + AT_ONCE) as daemon:
            folder, _ = self.published.write()
            daemon.load(folder)
            ids = daemon.ask("What is this?", "landscape.png", ignore_eos=True)[1]
            picture = (GOLDEN.parent / "images/landscape.png").read_bytes()

            def with_picture(staging):
                (staging / "probes").mkdir()
                (staging / "probes/0.png").write_bytes(picture)
            good = probe(ids, "probes/0.png")
            loaded = daemon.load(self.published.write(probes=[good], edit=with_picture)[0])
            self.assertEqual(loaded.version.state, models_pb.VERSION_STATE_LIVE)
            with self.assertRaises(grpc.RpcError) as refused:
                daemon.load(self.published.write(rolled(1), probes=[good], edit=with_picture)[0])
            self.assertEqual(refused.exception.code(), grpc.StatusCode.FAILED_PRECONDITION)
            self.assertIn('probe "What is this?" answered ids', refused.exception.details())
            self.assertEqual(daemon.ask()[0], loaded.version.version)

    def test_watch_tells_what_happens(self):
        with Llavad(self.watch + AT_ONCE) as daemon:
            watch = daemon.models.Watch(models_pb.WatchRequest())
            self.assertEqual(list(next(watch).versions), [])
            _, version = self.published.publish()
            states = []
            for change in watch:
                states += [models_pb.VersionState.Name(e.state) for e in change.events if e.version == version]
                if states and states[-1] == "VERSION_STATE_LIVE":
                    break
            self.assertEqual([s.removeprefix("VERSION_STATE_").lower() for s in states],
                             ["discovered", "verifying", "loading", "warming", "probing", "live"])
            watch.cancel()

    def test_every_state_is_in_rpc_log_and_metrics(self):
        _, old = self.published.publish()
        with Llavad(self.watch + JUDGED).wait_ready() as daemon:
            _, new = self.published.publish(rolled(1))
            daemon.wait_state(new, "canary")
            self.assertEqual(daemon.states_in_metrics(), {(old, "live"), (new, "canary")})
            daemon.models.Promote(models_pb.PromoteRequest())
            daemon.models.Unload(models_pb.UnloadRequest(version=old))
            daemon.wait_state(old, "freed")
            self.assertEqual(daemon.states_in_metrics(), {(old, "freed"), (new, "live")})
            way = ["discovered", "verifying", "loading", "warming", "probing"]
            expected = {old: way + ["live", "kept", "draining", "freed"], new: way + ["canary", "live"]}
            lines = [json.loads(line) for line in daemon.logged().splitlines()]
            logged = [(line["version"], line["state"]) for line in lines if line["event"] == "model version"]
            for told in (daemon.events(), logged):
                self.assertEqual({version: [s for v, s in told if v == version] for version in expected}, expected)

    def test_alive_and_not_ready_while_the_first_version_is_read(self):
        _, version = self.published.publish(edit=wide)
        with Llavad(self.watch + AT_ONCE) as daemon:
            wait_until(lambda: (version, "verifying") in daemon.events(), "it is read")
            self.assertEqual(daemon.get("/healthz")[0], 200)
            ready, live = daemon.get("/readyz")[0], daemon.state(version) == "live"
            self.assertTrue(live or ready == 503)  # asked in this order: live later than not ready
            daemon.wait_ready()
            self.assertEqual(daemon.state(version), "live")


def probe(ids, *images):
    return {"prompt": "What is this?", "images": list(images), "chat_template": "hf", "greedy_ids": list(ids)}


if __name__ == "__main__":
    unittest.main(verbosity=2)
