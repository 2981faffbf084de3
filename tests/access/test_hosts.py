"""Downloads for callers: only from public addresses, small, and without redirects."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from aideon_agents.access.hosts import download, is_public
from aideon_agents.errors import InputError

ANSWERS = {
    "/picture": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nyes!",
    "/moved": b"HTTP/1.1 302 Found\r\nLocation: /picture\r\nContent-Length: 0\r\n\r\n",
    "/long": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 2000,
}


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.5.5", "192.168.1.1", "169.254.169.254"),
        *("0.0.0.0", "100.64.0.1", "224.0.0.1", "255.255.255.255", "198.18.0.1"),  # noqa: S104
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:10.0.0.1"),
        *("64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1"),
    ],
)
def test_an_address_of_an_inner_network_is_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_an_address_of_the_internet_is_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://example.com/a.png",
            "ftp://example.com/a.png",
            "file:///etc/passwd",
            "//example.com",
        ),
        *("https://", "https://[::1", "https://a:b@example.com/", "https://example.com:99999/"),
        *(
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://localhost/",
        ),
        *("https://169.254.169.254/latest/meta-data", "https://2130706433/", "https://0x7f000001/"),
        *(
            "https://0177.0.0.1/",
            "https://127.1/",
            "https://%31%32%37.0.0.1/",
            "https://\uff11\uff12\uff17.0.0.1/",
        ),
    ],
)
async def test_what_is_not_on_the_public_internet_is_not_read(url):
    with pytest.raises(InputError):
        await download(url, 1000)


@pytest.fixture
async def served(tmp_path):
    """An https server on a free port, the trust in it, and the paths that it was asked for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    today = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - dt.timedelta(days=1))
        .not_valid_after(today + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(file)
    asked = []

    async def answer(reader, writer):
        asked.append((await reader.readuntil(b"\r\n\r\n")).split()[1].decode())
        writer.write(ANSWERS[asked[-1]])
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    yield f"https://127.0.0.1:{port}", ssl.create_default_context(cafile=file), asked
    server.close()
    await server.wait_closed()


def anything(address):
    ipaddress.ip_address(address)
    return True


async def test_the_bytes_at_a_url_are_read_up_to_a_limit(served):
    url, tls, _ = served
    assert await download(f"{url}/picture", 4, allows=anything, tls=tls) == b"yes!"
    with pytest.raises(InputError, match="more than 1,000 bytes"):
        await download(f"{url}/long", 1000, allows=anything, tls=tls)


async def test_a_redirect_is_not_followed(served):
    url, tls, asked = served
    with pytest.raises(InputError, match="status 302"):
        await download(f"{url}/moved", 1000, allows=anything, tls=tls)
    assert asked == ["/moved"]


async def test_a_name_is_refused_by_what_it_resolves_to(served):
    url, tls, asked = served
    named = url.replace("127.0.0.1", "localhost")
    seen = []

    def first_only(address):
        ipaddress.ip_address(address)  # a name is looked up before it is judged
        seen.append(address)
        return False

    with pytest.raises(InputError, match="not on the public internet"):
        await download(f"{named}/picture", 1000, allows=first_only, tls=tls)
    assert seen
    assert not asked


async def test_a_certificate_that_nobody_trusts_is_refused(served):
    url, _, asked = served
    with pytest.raises(InputError, match="nothing can be read"):
        await download(f"{url}/picture", 1000, allows=anything)
    assert not asked
