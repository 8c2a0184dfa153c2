"""Retries, time-outs, authentication: what happens between a call and the wire."""

import asyncio
import logging
import socket
import ssl
import time
import traceback
from base64 import b64encode

import pytest
import trustme
from aiohttp.test_utils import RawTestServer

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import Credentials, kubeconfig_dict, kubeconfig_file
from airflow_provider_sparkml.client.transport import Timeouts, backoff
from airflow_provider_sparkml.exceptions import (
    AlreadyExistsError,
    ApiError,
    ApiUnavailableError,
    ForbiddenError,
    InvalidConnectionError,
    RetryableError,
    UnauthorizedError,
)
from airflow_provider_sparkml.resources.base import ApiResource

APPS = ApiResource("sparkoperator.k8s.io", "v1beta2", "sparkapplications", "SparkApplication")
COLLECTION = APPS.path("team")
PI = APPS.path("team", "pi")
OBJ = {"metadata": {"name": "pi", "resourceVersion": "1"}}


def kubeconfig(server, user=None, **cluster):
    return {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": user or {}}],
    }


async def test_retries_server_errors_and_lost_connections_until_one_is_good(wire, client, answers, no_pause):
    wire.on(PI, answers.status(500), answers.status(503), answers.drop(), answers.status(429), answers.obj(OBJ))
    assert await client.get(APPS, "pi", "team") == OBJ
    assert len(wire.seen) == 5
    # aiohttp repeats a GET by itself when a kept-alive connection turns out to be closed: one pause less.
    assert no_pause == [0.5, 1.0, 2.0]


async def test_retry_after_is_honoured(wire, client, answers, no_pause):
    wire.on(PI, answers.status(429, headers={"Retry-After": "1"}), answers.obj(OBJ))
    began = time.monotonic()
    await client.get(APPS, "pi", "team")
    assert time.monotonic() - began >= 1


async def test_a_retry_after_beyond_the_total_time_out_is_not_waited_for(wire, client, answers):
    wire.on(PI, answers.status(429, "TooManyRequests", "slow down", headers={"Retry-After": "60"}))
    with pytest.raises(ApiUnavailableError, match="slow down") as caught:
        await client.get(APPS, "pi", "team")
    assert caught.value.retry_after == 60
    assert len(wire.seen) == 1


@pytest.mark.parametrize("code", [400, 403, 404, 405, 409, 410, 415, 422])
async def test_no_other_refusal_is_retried(wire, client, answers, code):
    wire.on(PI, answers.status(code))
    with pytest.raises(ApiError):
        await client.get(APPS, "pi", "team")
    assert len(wire.seen) == 1


async def test_the_total_time_is_bounded_and_the_last_cause_is_told(wire, answers):
    wire.on(PI, answers.status(503, message="etcd leader changed"))
    async with KubernetesClient(kubeconfig_dict(wire.config()), timeouts=Timeouts(total=0.6)) as client:
        began = time.monotonic()
        with pytest.raises(ApiUnavailableError, match=r"^etcd leader changed \(get .* pi in namespace team: HTTP 503"):
            await client.get(APPS, "pi", "team")
    assert time.monotonic() - began < 1.5
    assert len(wire.seen) > 1


async def test_a_server_that_never_answers_is_given_up(wire, answers):
    never = asyncio.Event()
    wire.on(PI, answers.stream(hold=never))
    async with KubernetesClient(kubeconfig_dict(wire.config()), timeouts=Timeouts(total=0.3, request=0.1)) as client:
        with pytest.raises(ApiUnavailableError, match=f"^no answer from {wire.url}: timed out"):
            await client.get(APPS, "pi", "team")
    never.set()


async def test_a_server_that_is_away_is_named_with_the_cause():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    async with KubernetesClient(kubeconfig_dict(kubeconfig(url)), timeouts=Timeouts(total=0.3)) as client:
        with pytest.raises(
            ApiUnavailableError, match=rf"^no answer from {url}: .*(refused|Connect call failed)"
        ) as caught:
            await client.get(APPS, "pi", "team")
    assert isinstance(caught.value, RetryableError)
    assert not caught.value.sent


async def test_a_create_that_got_through_unheard_leaves_the_409_to_the_caller(wire, client, answers, no_pause):
    wire.on(COLLECTION, answers.drop(), answers.status(409, "AlreadyExists", name="pi"))
    with pytest.raises(AlreadyExistsError):
        await client.create(APPS, {"metadata": {"name": "pi"}}, "team")
    assert [seen.method for seen in wire.seen] == ["POST", "POST"]


@pytest.mark.parametrize("lost", ["drop", "500"])
async def test_a_generated_name_is_never_created_twice(wire, client, answers, lost):
    wire.on(COLLECTION, answers.drop() if lost == "drop" else answers.status(500), answers.obj(OBJ, 201))
    with pytest.raises(ApiUnavailableError):
        await client.create(APPS, {"metadata": {"generateName": "pi-"}}, "team")
    assert len(wire.seen) == 1


async def test_a_generated_name_refused_by_429_is_sent_again(wire, client, answers, no_pause):
    wire.on(COLLECTION, answers.status(429), answers.obj(OBJ, 201))
    assert await client.create(APPS, {"metadata": {"generateName": "pi-"}}, "team") == OBJ


async def test_a_json_patch_is_not_repeated_but_a_merge_patch_is(wire, client, answers, no_pause):
    wire.on(PI, answers.drop(), answers.obj(OBJ))
    assert await client.patch(APPS, "pi", {"spec": {}}, "team") == OBJ
    wire.on(PI, answers.drop(), answers.obj(OBJ))
    with pytest.raises(ApiUnavailableError):
        await client.patch(APPS, "pi", [{"op": "add", "path": "/metadata/finalizers/-", "value": "x"}], "team")


async def test_a_token_file_that_rotated_is_read_anew_on_401(wire, answers, tmp_path):
    token = tmp_path / "token"
    token.write_text("old\n")

    async def check(request):
        good = request.headers["Authorization"] == "Bearer new"
        return await (answers.obj(OBJ) if good else answers.status(401, "Unauthorized"))(request)

    wire.on(PI, check)
    async with KubernetesClient(kubeconfig_dict(wire.config({"tokenFile": str(token)}))) as client:
        with pytest.raises(UnauthorizedError, match=r"^Unauthorized"):
            await client.get(APPS, "pi", "team")
        assert len(wire.seen) == 2  # read anew once, and then it is refused for good
        token.write_text("new\n")
        assert await client.get(APPS, "pi", "team") == OBJ


class CountedSource:
    """Credentials that the server accepts only after they were read anew."""

    def __init__(self, server):
        self.server = server
        self.token = "old"
        self.forced = 0
        self._current = Credentials(server, headers=(("Authorization", "Bearer old"),))

    async def load(self, *, force=False):
        if force:
            self.forced += 1
            await asyncio.sleep(0.05)
            self._current = Credentials(self.server, headers=(("Authorization", "Bearer new"),))
        return self._current


async def test_many_401_at_once_read_the_credentials_anew_once(wire, answers):
    async def check(request):
        good = request.headers["Authorization"] == "Bearer new"
        await asyncio.sleep(0.02)
        return await (answers.obj(OBJ) if good else answers.status(401, "Unauthorized"))(request)

    wire.on(PI, check)
    source = CountedSource(wire.url)
    async with KubernetesClient(source) as client:
        await asyncio.gather(*(client.get(APPS, "pi", "team") for _ in range(20)))
    assert source.forced == 1


async def test_a_403_does_not_read_credentials_anew(wire, answers):
    wire.on(PI, answers.status(403, "Forbidden"))
    source = CountedSource(wire.url)
    async with KubernetesClient(source) as client:
        with pytest.raises(ForbiddenError):
            await client.get(APPS, "pi", "team")
    assert source.forced == 0


async def test_a_closed_client_does_not_open_connections_again(wire, client, answers):
    wire.on(PI, answers.obj(OBJ))
    await client.get(APPS, "pi", "team")
    await client.close()
    await client.close()
    with pytest.raises(RuntimeError, match="the client is closed"):
        await client.get(APPS, "pi", "team")


async def test_redirects_are_refused_so_that_the_token_goes_nowhere_else(wire, client, answers):
    wire.on(PI, answers.text("", 302, Location=f"{wire.url}/elsewhere"))
    with pytest.raises(ApiError, match="HTTP 302"):
        await client.get(APPS, "pi", "team")
    assert [seen.path for seen in wire.seen] == [PI]


async def test_an_answer_that_is_no_json_says_so(wire, client, answers):
    wire.on(PI, answers.text("<html>log in</html>"))
    with pytest.raises(ApiError, match="no JSON: is this an API server"):
        await client.get(APPS, "pi", "team")


async def test_warnings_of_the_server_are_passed_on_once(wire, client, answers, caplog):
    wire.on(PI, answers.obj(OBJ, Warning='299 - "unknown field spec.imagee"'))
    with caplog.at_level(logging.WARNING):
        await client.get(APPS, "pi", "team")
        await client.get(APPS, "pi", "team")
    assert caplog.messages == ["the API server warns: unknown field spec.imagee"]


async def test_headers_and_path_prefix_of_the_server(wire, answers):
    wire.on("/k8s/clusters/c-1" + PI, answers.obj(OBJ))
    config = wire.config({"token": "t0ken", "as": "jane", "as-groups": ["dev", "ops"]})
    config["clusters"][0]["cluster"]["server"] += "/k8s/clusters/c-1/"
    async with KubernetesClient(kubeconfig_dict(config)) as client:
        await client.get(APPS, "pi", "team")
    headers = wire.seen[0].headers
    assert headers["Authorization"] == "Bearer t0ken"
    assert headers["Impersonate-User"] == "jane"
    assert headers["User-Agent"].startswith("airflow-provider-sparkml/")


async def test_requests_are_limited_but_open_streams_do_not_count(wire, client, answers):
    running = most = 0

    async def slow(request):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1
        return await answers.obj(OBJ)(request)

    hold = asyncio.Event()
    wire.on(PI, slow)
    wire.on(COLLECTION, answers.stream(hold=hold))

    async def watch():
        async for _ in client.watch(APPS, "team", resource_version="1"):
            raise AssertionError

    watches = [asyncio.create_task(watch()) for _ in range(120)]
    await asyncio.gather(*(client.get(APPS, "pi", "team") for _ in range(200)))
    assert 2 <= most <= 64
    hold.set()
    await asyncio.gather(*watches)


async def test_a_proxy_is_used(wire, answers):
    # A proxy for plain HTTP sees the whole URL as its request's target.
    wire.on(PI, answers.obj(OBJ))
    config = kubeconfig("http://unreachable.example:1", **{"proxy-url": wire.url})
    async with KubernetesClient(kubeconfig_dict(config)) as client:
        assert await client.get(APPS, "pi", "team") == OBJ
    assert wire.seen[0].headers["Host"] == "unreachable.example:1"


@pytest.mark.parametrize("password", ["hush", "hu%20sh"])
async def test_the_password_of_a_proxy_is_in_no_error(wire, answers, password, caplog):
    # A tunnel through a proxy that refuses it; the last try may be out of time instead.
    caplog.set_level("INFO")
    proxy = wire.url.replace("://", f"://user:{password}@")
    config = kubeconfig("https://unreachable.example:1", **{"proxy-url": proxy})
    async with KubernetesClient(kubeconfig_dict(config), timeouts=Timeouts(total=0.3)) as client:
        with pytest.raises(ApiError) as refused:
            await client.get(APPS, "pi", "team")
    told = "".join(traceback.format_exception(refused.value)) + caplog.text
    assert "the proxy refuses: HTTP 404" in told
    assert password not in told
    assert b64encode(f"user:{password}".encode()).decode() not in told


# --- TLS -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
async def tls_wire(wire, authority):
    """The scripted server again, with TLS and optional client certificates."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("api.internal", "localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    server = RawTestServer(wire.handle)
    await server.start_server(ssl=context)
    wire.url = f"https://127.0.0.1:{server.port}"
    yield wire
    await server.close()


def ca_data(authority):
    import base64

    return base64.b64encode(authority.cert_pem.bytes()).decode()


async def test_tls_with_the_clusters_ca_and_server_name(tls_wire, authority, answers):
    tls_wire.on(PI, answers.obj(OBJ))
    config = tls_wire.config(**{"certificate-authority-data": ca_data(authority), "tls-server-name": "api.internal"})
    async with KubernetesClient(kubeconfig_dict(config)) as client:
        assert await client.get(APPS, "pi", "team") == OBJ


@pytest.mark.parametrize("wrong", ["other CA", "other name"])
async def test_a_certificate_that_is_not_trusted_fails_at_once_and_says_what_to_set(tls_wire, authority, wrong):
    ca = trustme.CA() if wrong == "other CA" else authority
    config = tls_wire.config(**{"certificate-authority-data": ca_data(ca)})
    began = time.monotonic()
    async with KubernetesClient(kubeconfig_dict(config)) as client:
        with pytest.raises(
            InvalidConnectionError, match=r"certificate of https.* is not accepted.*certificate-authority"
        ):
            await client.get(APPS, "pi", "team")
    assert time.monotonic() - began < 5


async def test_verification_can_be_switched_off_in_both_places(tls_wire, answers):
    tls_wire.on(PI, answers.obj(OBJ))
    insecure = kubeconfig_dict(tls_wire.config(**{"insecure-skip-tls-verify": True}))
    overridden = kubeconfig_dict(tls_wire.config(), verify=False)
    for source in (insecure, overridden):
        async with KubernetesClient(source) as client:
            assert await client.get(APPS, "pi", "team") == OBJ


async def test_a_client_certificate_is_presented_and_a_rotated_one_taken_up(tls_wire, authority, answers, tmp_path):
    subjects = []

    async def who(request):
        peer = request.transport.get_extra_info("ssl_object").getpeercert()
        subjects.append(dict(part[0] for part in peer["subject"])["commonName"] if peer else None)
        return await answers.obj(OBJ)(request)

    tls_wire.on(PI, who)

    def issue(name):
        issued = authority.issue_cert(common_name=name)
        (tmp_path / "tls.crt").write_bytes(issued.cert_chain_pems[0].bytes())
        (tmp_path / "tls.key").write_bytes(issued.private_key_pem.bytes())

    issue("first")
    (tmp_path / "ca.crt").write_bytes(authority.cert_pem.bytes())
    import yaml

    user = {"client-certificate": "tls.crt", "client-key": "tls.key"}
    cluster = {"certificate-authority": "ca.crt", "tls-server-name": "localhost"}
    (tmp_path / "config").write_text(yaml.safe_dump(tls_wire.config(user, **cluster)))
    async with KubernetesClient(kubeconfig_file(tmp_path / "config")) as client:
        await client.get(APPS, "pi", "team")
        issue("second")
        await client.get(APPS, "pi", "team")
    assert subjects == ["first", "second"]


@pytest.mark.parametrize("keepalive", [True, False])
async def test_idle_connections_are_probed_unless_that_is_switched_off(wire, answers, keepalive):
    sockets = []

    async def remember(request):
        connection = next(iter(client._transport._session.connector._acquired))
        sockets.append(connection.transport.get_extra_info("socket"))
        return await answers.obj(OBJ)(request)

    wire.on(PI, remember)
    async with KubernetesClient(kubeconfig_dict(wire.config()), tcp_keepalive=keepalive) as client:
        await client.get(APPS, "pi", "team")
        assert bool(sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is keepalive


def test_back_off_grows_is_jittered_and_bounded():
    for failures, longest in ((1, 0.5), (3, 2.0), (50, 5.0)):
        pauses = [backoff(failures) for _ in range(200)]
        assert 0 <= min(pauses) < longest / 4
        assert longest * 3 / 4 < max(pauses) <= longest
