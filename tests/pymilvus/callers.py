"""pymilvus' three clients, MilvusClient, AsyncMilvusClient and the ORM, behind MilvusClient's names."""

import asyncio
import itertools

from local_cluster import CALL_SECONDS
from pymilvus import AsyncMilvusClient, Collection, MilvusClient, Partition, connections, db, utility

_numbers = itertools.count(1)


class Sync:
    label = "client"

    def __init__(self, uri, **options):
        self._client = MilvusClient(uri=uri, timeout=CALL_SECONDS, **options)

    def __getattr__(self, name):
        method = getattr(self._client, name)
        return lambda *arguments, **options: method(*arguments, timeout=CALL_SECONDS, **options)

    def close(self):
        self._client.close()


class Async:
    label = "async"

    def __init__(self, uri, **options):
        self._runner = asyncio.Runner()

        async def connect():
            return AsyncMilvusClient(uri=uri, timeout=CALL_SECONDS, **options)

        self._client = self._runner.run(connect())

    def list_aliases(self, collection):
        """The one answer that differs from MilvusClient's: without a dictionary around it."""
        return {"aliases": self._runner.run(self._client.list_aliases(collection, timeout=CALL_SECONDS))}

    def __getattr__(self, name):
        method = getattr(self._client, name)
        return lambda *arguments, **options: self._runner.run(method(*arguments, timeout=CALL_SECONDS, **options))

    def close(self):
        self._runner.run(self._client.close())
        self._runner.close()


class Orm:
    label = "orm"

    def __init__(self, uri, **options):
        self._using = f"orm_{next(_numbers)}"
        connections.connect(self._using, uri=uri, timeout=CALL_SECONDS, **options)
        self._options = {"using": self._using, "timeout": CALL_SECONDS}

    def close(self):
        connections.remove_connection(self._using)

    def create_collection(self, name, schema):
        Collection(name, schema=schema, **self._options)

    def drop_collection(self, name):
        utility.drop_collection(name, **self._options)

    def describe_collection(self, name):
        return Collection(name, using=self._using).describe(timeout=CALL_SECONDS)

    def create_database(self, name, properties=None):
        db.create_database(name, properties=properties, **self._options)

    def drop_database(self, name):
        db.drop_database(name, **self._options)

    def list_databases(self):
        return db.list_database(**self._options)

    def describe_database(self, name):
        return db.describe_database(name, **self._options)

    def alter_database_properties(self, name, properties):
        db.set_properties(name, properties, **self._options)

    def create_partition(self, collection, name):
        Partition(Collection(collection, using=self._using), name)

    def drop_partition(self, collection, name):
        Collection(collection, using=self._using).drop_partition(name, timeout=CALL_SECONDS)

    def has_partition(self, collection, name):
        return utility.has_partition(collection, name, **self._options)

    def list_partitions(self, collection):
        return [partition.name for partition in Collection(collection, using=self._using).partitions]

    def get_partition_stats(self, collection, name):
        return {"row_count": Partition(Collection(collection, using=self._using), name).num_entities}

    def create_alias(self, collection, alias):
        utility.create_alias(collection, alias, **self._options)

    def alter_alias(self, collection, alias):
        utility.alter_alias(collection, alias, **self._options)

    def drop_alias(self, alias):
        utility.drop_alias(alias, **self._options)

    def list_aliases(self, collection):
        return {"aliases": utility.list_aliases(collection, **self._options)}


CALLERS = (Sync, Async, Orm)
