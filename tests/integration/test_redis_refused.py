"""What a Redis forbids for good: databases, commands, connections. It is said in its own words, with
a status that does not ask to try again, in the log at once, and where readiness is asked; it works
without a restart when it is allowed. And a Redis of one database."""

import contextlib
import socket

import pytest
from faked import run
from redis_servers import Redis
from rpc import Rpc, grpc, health, messages
from strato import Strato, until

# What the README says a user needs.
COMMANDS = ["+get", "+set", "+incrby", "+del", "+smembers", "+sadd", "+srem", "+scard", "+sismember",
            "+eval", "+ping", "+select"]
EVERY = {"kv": ("/kv/{}", "PUT"), "cache": ("/cache/{}?value=v&ttl=60", "PUT"),
         "counter": ("/counters/{}?increment=1", "PUT"), "flag": ("/flags/{}?value=1", "PUT"),
         "set": ("/sets/{}?item=x", "PUT")}


def change(client, service, key):
    target, method = EVERY[service]
    return client.request(method, target.format(key), b"x", {"Content-Type": "text/plain"})


def all_work(client, key="a"):
    for service in EVERY:
        answer = change(client, service, key)
        if answer.status not in (200, 204):
            return False
    return client.get("/readyz").status == 200


def is_refused(answer, *words):
    return answer.status == 502 and "retry-after" not in answer.headers and \
        all(word in answer.json()["error"] for word in words)


def says_not_ready(client, *words):
    answer = client.get("/readyz")
    return answer.status == 503 and all(word in answer.json()["error"] for word in words)


@contextlib.contextmanager
def as_user(*rules, options=(), **redis):
    """A server, a Strato that logs in as a user with these rights, and a client."""
    with Redis(options) as server:
        server.run("ACL", "SETUSER", "app", "on", ">pass", *rules)
        settings = server.settings(url=server.url(("app", "pass")), **redis)
        with Strato(settings) as strato:
            yield server, strato, strato.client()


# ---- One database ----

def test_a_redis_of_one_database():
    with Redis(["--databases", "1"]) as redis, Strato(
            {**redis.settings(), "grpc": {"enabled": "yes", "workers": "1"}}) as strato:
        client, rpc = strato.client(), Rpc(strato.grpc)
        until(lambda: is_refused(client.kv_put("a", b"b"), "out of range", "database = 0"), "said")
        assert change(client, "cache", "a").status == 204  # which is in database 0
        until(lambda: says_not_ready(client, "database = 0"), "not ready")
        assert "database = 0" in strato.log()
        code, text = rpc.status("/proto.KV/KVGet", messages.Location(key="a"))
        assert code == grpc.StatusCode.FAILED_PRECONDITION and "database = 0" in text
        assert rpc.check() == health.HealthCheckResponse.NOT_SERVING
        rpc.close()


@pytest.mark.parametrize("number, options", [(0, ["--databases", "1"]), (7, [])])
def test_all_in_one_database(number, options):
    with Redis(options) as redis, Strato(redis.settings(database=str(number))) as strato:
        client = strato.client()
        until(lambda: all_work(client, "mine"), "works")
        assert redis.cli(number, "GET", "kv:mine") == b"x"
        assert redis.cli(number, "GET", "cache:mine") == b"v"
        assert int(redis.cli(number, "GET", "counter:mine")) >= 1
        assert redis.cli(number, "GET", "flag:mine") == b"1"
        assert redis.cli(number, "SMEMBERS", "set:mine") == b"x"
        assert redis.cli(number, "DBSIZE") == b"5"
        redis.cli(number, "SET", "kv:theirs", "hello")
        assert client.kv_get("theirs").body == b"hello"
        assert client.get("/kv/kv:mine").status == 404
        until(lambda: strato.metrics()['strato_redis_connected{backend="redis"}'] == 1, "counted")


def test_a_database_that_there_is_not():
    with Redis(["--databases", "4"]) as redis, \
            Strato(redis.settings(database="4")) as strato:
        client = strato.client()
        until(lambda: is_refused(client.kv_get("a"), "SELECT 4", "out of range"), "said")


def test_databases_in_the_configuration(tmp_path):
    path = tmp_path / "strato.ini"
    for lines, said in [("database = per_service", "per-service or a number from 0 to 65535"),
                        ("database = -1", "per-service or a number from 0 to 65535"),
                        ("database = 65536", "per-service or a number from 0 to 65535"),
                        ("database = 1\ncluster = yes", "a cluster has but one"),
                        ("database = 0\ncluster = yes", None), ("database = per-service", None),
                        ("database = 65535", None)]:
        path.write_text(f"[strato]\nbackend = redis\n[redis]\n{lines}\n")
        code, out, err = run("stratod", "--check-config", "--config", str(path))
        assert (code == 0) if said is None else (code == 1 and said in out + err), (lines, out, err)


# ---- Commands ----

def test_the_rights_that_are_needed_are_enough():
    with as_user("~*", "-@all", *COMMANDS) as (_, strato, client):
        until(lambda: all_work(client), "works")
        assert client.delete("/kv/a").status == 204
        assert client.delete("/sets/a?item=x").status == 200
        assert client.get("/counters/a").json()["value"] >= 1
        assert "refuses" not in strato.log()


def test_the_rights_that_are_needed_in_one_database():
    keys = ["~kv:*", "~cache:*", "~counter:*", "~flag:*", "~set:*"]
    with as_user(*keys, "-@all", *COMMANDS[:-1], database="0") as (_, strato, client):
        until(lambda: all_work(client), "works")
        assert "refuses" not in strato.log()


def test_select_forbidden():
    with as_user("~*", "+@all", "-select") as (server, strato, client):
        until(lambda: is_refused(client.kv_put("a", b"b"), "SELECT 3", "NOPERM", "database = 0"), "said")
        until(lambda: says_not_ready(client, "NOPERM"), "not ready")
        server.run("ACL", "SETUSER", "app", "+select")
        until(lambda: all_work(client), "works", 5)
    with as_user("~*", "+@all", "-select", database="0") as (_, strato, client):
        until(lambda: all_work(client), "works")


def test_eval_forbidden():
    """The rest works; readiness says what does not."""
    with as_user("~*", "+@all", "-eval") as (server, strato, client):
        until(lambda: says_not_ready(client, "NOPERM", "eval"), "not ready")
        assert is_refused(change(client, "set", "a"), "NOPERM", "eval")
        assert client.get("/sets/a").json()["items"] == []
        assert client.kv_put("a", b"b").status == 204
        assert strato.log().count("refuses some commands") == 1, strato.log()
        server.run("ACL", "SETUSER", "app", "+eval")
        until(lambda: all_work(client), "works", 5)
        assert strato.log().count("takes all commands again") == 1


@pytest.mark.parametrize("command, service", [("set", "kv"), ("set", "flag"), ("incrby", "counter"),
                                              ("srem", "set"), ("del", "kv"), ("smembers", "set"),
                                              ("sadd", "set"), ("scard", "set")])
def test_a_command_forbidden(command, service):
    with as_user("~*", "+@all", f"-{command}") as (_, strato, client):
        until(lambda: says_not_ready(client, "redis"), "not ready")
        until(lambda: "refuses some commands" in strato.log(), "said")
        if command == "del":
            client.kv_put("a", b"b")
            assert is_refused(client.delete("/kv/a"), "NOPERM")
        elif command == "srem":
            assert is_refused(client.delete("/sets/a?item=x"), "can't run this command")
        else:
            assert is_refused(change(client, service, "a"), "command")


def test_a_command_that_is_gone():
    """As hosted ones do it. The words of the command, which Redis repeats, are nobody's business."""
    with Redis(["--rename-command", "EVAL", ""]) as redis, Strato(redis.settings()) as strato:
        client = strato.client()
        until(lambda: says_not_ready(client, "unknown command 'EVAL'"), "not ready")
        answer = client.put("/sets/secret-key?item=secret-item")
        assert is_refused(answer, "unknown command 'EVAL'") and "secret" not in answer.json()["error"]
        assert "secret" not in strato.log()


@pytest.mark.parametrize("command", ["SADD", "SCARD", "SREM", "SMEMBERS"])
def test_a_command_that_is_gone_from_scripts(command):
    with Redis(["--rename-command", command, ""]) as redis, Strato(redis.settings()) as strato:
        client = strato.client()
        until(lambda: says_not_ready(client, "nknown", "command"), "not ready")
        answer = client.delete("/sets/a?item=x") if command == "SREM" else change(client, "set", "a")
        assert is_refused(answer, "Unknown Redis command"), answer
        until(lambda: "refuses some commands" in strato.log(), "said")
        assert client.kv_put("a", b"b").status == 204


def test_trying_changes_nothing():
    with Redis() as redis, Strato(redis.settings()) as strato:
        client = strato.client()
        until(lambda: client.get("/readyz").status == 200, "ready")
        assert b"cmdstat_eval" in redis.run("INFO", "commandstats")
        assert b"rdb_changes_since_last_save:0" in redis.run("INFO", "persistence")
        assert redis.run("INFO", "keyspace").splitlines()[1:] == []


def test_only_what_is_used_is_needed():
    """A cache in a Redis of one database needs neither SELECT nor EVAL."""
    with Redis(["--databases", "1"]) as redis:
        redis.run("ACL", "SETUSER", "app", "on", ">pass", "~*", "-@all", "+get", "+set", "+ping")
        settings = redis.settings(url=redis.url(("app", "pass")))
        settings["strato"] = {"backend": "memory"}
        settings["services"] = {"cache": "redis"}
        with Strato(settings) as strato:
            client = strato.client()
            until(lambda: all_work(client), "works")
            assert redis.cli(0, "GET", "a") == b"v"
            assert "refuses" not in strato.log()


def test_keys_forbidden():
    with as_user("~kv:*", "+@all", database="0") as (_, strato, client):
        until(lambda: says_not_ready(client, "NOPERM"), "not ready")
        assert client.kv_put("a", b"b").status == 204
        assert is_refused(change(client, "counter", "a"), "NOPERM")


def test_a_counter_that_cannot_be_incremented():
    with Redis() as redis, Strato(redis.settings()) as strato:
        client = strato.client()
        for text in ("007", "-0", "+7", " 7", "7 ", "-07", "", "9223372036854775808"):
            redis.cli(1, "SET", "a", text)
            statuses = (client.get("/counters/a").status, change(client, "counter", "a").status)
            assert statuses == (409, 409), text
            assert redis.cli(1, "GET", "a") == text.encode()


# ---- Connections ----

def test_too_many_clients():
    with Redis() as redis:
        redis.run("CONFIG", "SET", "maxclients", "1")
        with socket.create_connection(("127.0.0.1", redis.port)) as guest:
            guest.sendall(b"PING\r\n")
            assert guest.recv(100) == b"+PONG\r\n"
            with Strato(redis.settings()) as strato:
                client = strato.client()
                until(lambda: is_refused(client.kv_get("a"), "max number of clients"), "said")
                until(lambda: says_not_ready(client, "max number of clients"), "not ready")
                assert "max number of clients" in strato.log()
                guest.sendall(b"CONFIG SET maxclients 100\r\n")
                until(lambda: all_work(client), "works", 5)
                strato.stop()


def test_a_password_that_redis_repeats():
    """A server without AUTH shows its words: they are not shown on."""
    with Redis(["--rename-command", "AUTH", ""]) as redis, \
            Strato(redis.settings(url=redis.url(("", "very-secret")))) as strato:
        client = strato.client()
        until(lambda: is_refused(client.kv_get("a"), "AUTH"), "said")
        until(lambda: "refuses us: AUTH" in strato.log(), "logged")
        for text in (strato.log(), client.kv_get("a").json()["error"],
                     client.get("/readyz").json()["error"]):
            assert "very-secret" not in text


@pytest.mark.parametrize("layout", [{}, {"database": "0"}, {"cluster": "yes"}])
def test_a_password_that_is_missing(layout):
    with Redis(["--requirepass", "one"], login=("", "one")) as redis, \
            Strato(redis.settings(**{"url": redis.url(), **layout})) as strato:
        client = strato.client()
        until(lambda: is_refused(client.kv_get("a"), "NOAUTH", "password in url"), "said")
        until(lambda: says_not_ready(client, "password in url"), "not ready")
        assert "set database" not in client.kv_get("a").json()["error"] + strato.log()


def test_no_cluster_where_one_is_expected():
    """Requests and readiness say the same."""
    with Redis() as redis, Strato(redis.settings(cluster="yes")) as strato:
        client = strato.client()
        until(lambda: is_refused(client.kv_put("a", b"b"), "set cluster = no"), "said")
        until(lambda: says_not_ready(client, "set cluster = no"), "not ready")
        assert is_refused(client.kv_get("a"), "set cluster = no")
        assert "set cluster = no" in strato.log()
        assert redis.run("DBSIZE") == b"0"


def test_no_right_to_ask_for_the_map():
    """Where nothing can be known of a cluster, readiness says why."""
    with as_user("~*", "+@all", "-readwrite", "-cluster", cluster="yes") as (_, _strato, client):
        until(lambda: says_not_ready(client, "NOPERM", "cluster"), "not ready")


def test_a_password_that_is_not_needed():
    with Redis() as redis, Strato(redis.settings(url=redis.url(("", "secret")))) as strato:
        until(lambda: is_refused(strato.client().kv_get("a"), "AUTH"), "said")
        redis.run("CONFIG", "SET", "requirepass", "secret")
        until(lambda: all_work(strato.client()), "works", 5)


def test_a_password_that_changes():
    """Connections that are there go on; a new one is refused, with what Redis says."""
    with Redis(["--requirepass", "one"], login=("", "one")) as redis, \
            Strato(redis.settings()) as strato:
        client = strato.client()
        assert client.kv_put("a", b"b").status == 204
        redis.run("CONFIG", "SET", "requirepass", "two")
        assert client.kv_put("a", b"b").status == 204
        redis.login = ("", "two")
        redis.run("CLIENT", "KILL", "TYPE", "normal")
        until(lambda: is_refused(client.kv_put("a", b"b"), "WRONGPASS"), "said", 5)
        until(lambda: says_not_ready(client, "WRONGPASS"), "not ready", 5)
        redis.run("CONFIG", "SET", "requirepass", "one")
        until(lambda: all_work(client), "works", 5)
