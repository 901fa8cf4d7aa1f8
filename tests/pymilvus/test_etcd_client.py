"""A Python client of etcd (aetcd), as it is, on each node: keys, a transaction, a lease, a watch, a lock."""

import asyncio

import aetcd
from local_cluster import CALL_SECONDS


def test_a_python_client_of_etcd_finds_an_etcd(cluster, node, name):
    asyncio.run(use(cluster, node, name.encode()))


async def use(cluster, node, name):
    host, port = cluster.uri(node).removeprefix("http://").split(":")
    async with aetcd.Client(host=host, port=int(port), timeout=CALL_SECONDS) as client:
        key, other = name + b"/a", name + b"/b"
        first = (await client.put(key, b"1")).header.revision
        swapped, _ = await client.transaction(
            compare=[client.transactions.value(key) == b"1", client.transactions.version(other) == 0],
            success=[client.transactions.put(key, b"2"), client.transactions.put(other, b"3")],
            failure=[client.transactions.delete(key)],
        )
        assert swapped
        assert [(kv.key, kv.value) for kv in await client.get_prefix(name)] == [(key, b"2"), (other, b"3")]

        lease = await client.lease(60)
        await client.put(name + b"/leased", b"x", lease=lease)
        assert 0 < (await client.get_lease_info(lease.id)).TTL <= 60
        await client.revoke_lease(lease.id)
        assert await client.get(name + b"/leased") is None

        # From the past.
        watch = await client.watch(key, start_revision=first)
        events = watch.__aiter__()
        seen = [await asyncio.wait_for(anext(events), CALL_SECONDS) for _ in range(2)]
        assert [event.kv.value for event in seen] == [b"1", b"2"]
        await watch.cancel()

        async with client.lock(name + b"/lock", ttl=30):
            assert len(await held(client, name)) == 3
        assert await client.delete(key)


async def held(client, name):
    """The keys with the prefix, the lock's among them."""
    return list(await client.get_prefix(name))
