// The Node client against the event store that EVENTSTORE_URI names. Each test has streams of its own.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { after, test } from "node:test";

import client from "@eventstore/db-client";

const {
  BACKWARDS,
  END,
  EventStoreDBClient,
  MaxAppendSizeExceededError,
  NO_STREAM,
  PARK,
  PersistentSubscriptionDoesNotExistError,
  PersistentSubscriptionDroppedError,
  PersistentSubscriptionExistsError,
  PersistentSubscriptionMaximumSubscribersReachedError,
  START,
  STREAM_EXISTS,
  StreamDeletedError,
  StreamNotFoundError,
  WrongExpectedVersionError,
  binaryEvent,
  eventTypeFilter,
  jsonEvent,
  persistentSubscriptionToAllSettingsFromDefaults,
  persistentSubscriptionToStreamSettingsFromDefaults,
  streamNameFilter,
} = client;

const WITHIN = { timeout: 90_000 };
const MAX_APPEND_SIZE = 1024 * 1024;

const uri = process.env.EVENTSTORE_URI;
const store = EventStoreDBClient.connectionString(`${uri}&defaultDeadline=90000`);

after(() => store.dispose());

test("learns the server's version", WITHIN, async () => {
  assert.equal((await store.capabilities).serverVersion, "24.10.5");
});

test("appends and reads a stream", WITHIN, async () => {
  const stream = newStream();
  const json = jsonEvent({ type: "Json", data: { n: 1, text: "ünï" }, metadata: { by: "node" } });
  const binary = binaryEvent({ type: "Binary", data: Buffer.from([0, 255]) });
  const { nextExpectedRevision, position } = await store.appendToStream(stream, [json, binary], {
    expectedRevision: NO_STREAM,
  });
  assert.equal(nextExpectedRevision, 1n);

  const [first, second] = await all(store.readStream(stream));
  assert.deepEqual([first.id, first.revision, first.type], [json.id, 0n, "Json"]);
  assert.deepEqual(first.data, { n: 1, text: "ünï" });
  assert.deepEqual(first.metadata, { by: "node" });
  assert.ok(Math.abs(Date.now() - first.created) < 60_000, `created ${first.created}`);
  assert.deepEqual([...second.data], [0, 255]);
  assert.equal(second.isJson, false);
  assert.deepEqual(second.position, position);

  const backwards = await all(store.readStream(stream, { direction: BACKWARDS, fromRevision: END }));
  assert.deepEqual(revisions(backwards), [1n, 0n]);
});

test("appends the same events once", WITHIN, async () => {
  const stream = newStream();
  const events = newEvents(2);
  const first = await store.appendToStream(stream, events);
  const again = await store.appendToStream(stream, events);
  assert.deepEqual(again.position, first.position);
  assert.equal((await all(store.readStream(stream))).length, 2);
});

test("names the expected and the current revision", WITHIN, async () => {
  const stream = newStream();
  await store.appendToStream(stream, newEvents(3));
  await assert.rejects(
    store.appendToStream(stream, newEvents(1), { expectedRevision: 7n }),
    is(WrongExpectedVersionError, { streamName: stream, expectedVersion: 7n, actualVersion: 2n }),
  );
  const missing = newStream();
  await assert.rejects(
    store.appendToStream(missing, newEvents(1), { expectedRevision: STREAM_EXISTS }),
    is(WrongExpectedVersionError, { expectedVersion: "stream_exists", actualVersion: "no_stream" }),
  );
});

test("refuses an append that is too large", WITHIN, async () => {
  const large = binaryEvent({ type: "Large", data: Buffer.alloc(MAX_APPEND_SIZE + 1) });
  await assert.rejects(
    store.appendToStream(newStream(), large),
    is(MaxAppendSizeExceededError, { maxAppendSize: MAX_APPEND_SIZE }),
  );
});

test("says that a stream is missing", WITHIN, async () => {
  const stream = newStream();
  await assert.rejects(all(store.readStream(stream)), is(StreamNotFoundError, { streamName: stream }));
});

test("reads $all in both directions", WITHIN, async () => {
  const { position } = await store.appendToStream(newStream(), newEvents(1));
  const forwards = await all(store.readAll({ fromPosition: position, maxCount: 1 }));
  const backwards = await all(store.readAll({ direction: BACKWARDS, fromPosition: END }));
  assert.deepEqual(forwards[0].position, position);
  assert.ok(backwards.some((event) => event.id === forwards[0].id));
  const positions = backwards.map((event) => event.position.commit);
  assert.ok(positions.every((here, n) => n === 0 || here < positions[n - 1]));
});

test("subscribes to a stream: history, caught up, live", WITHIN, async () => {
  const stream = newStream();
  await store.appendToStream(stream, newEvents(3));
  const subscription = store.subscribeToStream(stream, { fromRevision: 0n });
  const caughtUp = once(subscription, "caughtUp");
  const received = receive(subscription);
  assert.deepEqual(revisions(await received.take(2)), [1n, 2n]);
  await caughtUp;
  await store.appendToStream(stream, newEvents(1));
  assert.deepEqual(revisions(await received.take(1)), [3n]);
  await subscription.unsubscribe();
});

test("subscribes to $all with a filter by stream", WITHIN, async () => {
  const prefix = newStream();
  const subscription = store.subscribeToAll({
    fromPosition: START,
    filter: streamNameFilter({ prefixes: [prefix] }),
  });
  const received = receive(subscription);
  await store.appendToStream(`${prefix}-1`, newEvents(1));
  await store.appendToStream(newStream(), newEvents(1));
  await store.appendToStream(`${prefix}-2`, newEvents(1));
  const streams = (await received.take(2)).map((event) => event.streamId);
  assert.deepEqual(streams, [`${prefix}-1`, `${prefix}-2`]);
  await subscription.unsubscribe();
});

test("subscribes to $all with a filter by type, and reaches checkpoints", WITHIN, async () => {
  const type = newType();
  const { position } = await store.appendToStream(newStream(), newEvents(40));
  const checkpoints = new EventEmitter();
  const checkpoint = once(checkpoints, "reached");
  const filter = eventTypeFilter({
    regex: `^${type}$`,
    maxSearchWindow: 32,
    checkpointInterval: 1,
    checkpointReached: async (_, position) => checkpoints.emit("reached", position),
  });
  const subscription = store.subscribeToAll({ fromPosition: START, filter });
  const received = receive(subscription);
  await store.appendToStream(newStream(), newEvents(2, type));
  assert.deepEqual(
    (await received.take(2)).map((event) => event.type),
    [type, type],
  );
  const [reached] = await checkpoint;
  assert.ok(reached.commit <= position.commit + 2n);
  await subscription.unsubscribe();
});

test("keeps a stream's metadata", WITHIN, async () => {
  const stream = newStream();
  await store.appendToStream(stream, newEvents(3));
  await store.setStreamMetadata(stream, { maxCount: 2, owner: "node" });
  const { metadata } = await store.getStreamMetadata(stream);
  assert.deepEqual([metadata.maxCount, metadata.owner], [2, "node"]);
  assert.deepEqual(revisions(await all(store.readStream(stream))), [1n, 2n]);
});

test("deletes a stream, which can then be reopened", WITHIN, async () => {
  const stream = newStream();
  await store.appendToStream(stream, newEvents(2));
  await assert.rejects(
    store.deleteStream(stream, { expectedRevision: 5n }),
    is(WrongExpectedVersionError, { streamName: stream, expectedVersion: 5n, actualVersion: 1n }),
  );
  const { position } = await store.deleteStream(stream, { expectedRevision: 1n });
  assert.ok(position.commit > 0n);
  await assert.rejects(all(store.readStream(stream)), is(StreamNotFoundError));
  await store.appendToStream(stream, newEvents(1), { expectedRevision: NO_STREAM });
  assert.deepEqual(revisions(await all(store.readStream(stream))), [2n]);
});

test("tombstones a stream for good", WITHIN, async () => {
  const stream = `${newStream()} ünï`;
  await store.appendToStream(stream, newEvents(1));
  await store.tombstoneStream(stream);
  const ofTheName = is(StreamDeletedError, { streamName: encodeURI(stream).replace("%20", " ") });
  await assert.rejects(all(store.readStream(stream)), ofTheName);
  await assert.rejects(store.deleteStream(stream), ofTheName);
  await assert.rejects(
    store.appendToStream(stream, newEvents(1)),
    is(StreamDeletedError, { streamName: stream }),
  );
});

test("names a stream that begins and ends with spaces", WITHIN, async () => {
  const stream = `  ${newStream()} `;
  await store.appendToStream(stream, newEvents(1));
  const encoded = stream.replace(/^ +| +$/g, (spaces) => "%20".repeat(spaces.length));
  await assert.rejects(
    store.deleteStream(stream, { expectedRevision: 5n }),
    is(WrongExpectedVersionError, { streamName: encoded, expectedVersion: 5n, actualVersion: 0n }),
  );
  await store.tombstoneStream(stream);
  await assert.rejects(all(store.readStream(stream)), is(StreamDeletedError, { streamName: encoded }));
});

test("a persistent subscription to a stream", WITHIN, async () => {
  const [stream, group] = [newStream(), "group"];
  await store.appendToStream(stream, newEvents(3));
  const settings = persistentSubscriptionToStreamSettingsFromDefaults({ startFrom: START });
  await store.createPersistentSubscriptionToStream(stream, group, settings);
  await assert.rejects(
    store.createPersistentSubscriptionToStream(stream, group, settings),
    is(PersistentSubscriptionExistsError, { streamName: stream, groupName: group }),
  );

  const subscription = store.subscribeToPersistentSubscriptionToStream(stream, group);
  const received = receive(subscription);
  const [first, second, third] = await received.takeResolved(3);
  assert.deepEqual(revisions([first.event, second.event, third.event]), [0n, 1n, 2n]);
  await subscription.ack(first, second);
  await subscription.nack(PARK, "later", third);
  await until(async () => {
    const info = await store.getPersistentSubscriptionToStreamInfo(stream, group);
    return info.stats.parkedMessageCount === 1n;
  });
  await store.replayParkedMessagesToStream(stream, group);
  const [replayed] = await received.takeResolved(1);
  assert.equal(replayed.event.id, third.event.id);
  await subscription.ack(replayed);

  const info = await store.getPersistentSubscriptionToStreamInfo(stream, group);
  assert.deepEqual([info.eventSource, info.groupName], [stream, group]);
  assert.equal(info.settings.startFrom, START);
  assert.equal(info.connections.length, 1);
  const listed = await store.listPersistentSubscriptionsToStream(stream);
  assert.deepEqual(
    listed.map(({ groupName }) => groupName),
    [group],
  );
  await subscription.unsubscribe();

  await store.deletePersistentSubscriptionToStream(stream, group);
  await assert.rejects(
    store.deletePersistentSubscriptionToStream(stream, group),
    is(PersistentSubscriptionDoesNotExistError, { streamName: stream, groupName: group }),
  );
});

test("a persistent subscription says why it ends", WITHIN, async () => {
  const [stream, group] = [newStream(), "group"];
  const missing = store.subscribeToPersistentSubscriptionToStream(stream, group);
  const [notFound] = await once(missing, "error");
  is(PersistentSubscriptionDoesNotExistError, { streamName: stream, groupName: group })(notFound);

  const settings = persistentSubscriptionToStreamSettingsFromDefaults({ maxSubscriberCount: 1 });
  await store.createPersistentSubscriptionToStream(stream, group, settings);
  const only = store.subscribeToPersistentSubscriptionToStream(stream, group);
  await once(only.resume(), "confirmation");
  const oneTooMany = store.subscribeToPersistentSubscriptionToStream(stream, group);
  const [full] = await once(oneTooMany, "error");
  is(PersistentSubscriptionMaximumSubscribersReachedError, { streamName: stream })(full);

  const ended = once(only, "error");
  await store.deletePersistentSubscriptionToStream(stream, group);
  is(PersistentSubscriptionDroppedError, { streamName: stream })((await ended)[0]);
});

test("a persistent subscription to $all", WITHIN, async () => {
  const [prefix, group] = [newStream(), newStream()];
  await store.appendToStream(`${prefix}-1`, newEvents(2));
  await store.createPersistentSubscriptionToAll(
    group,
    persistentSubscriptionToAllSettingsFromDefaults({ startFrom: START }),
    { filter: streamNameFilter({ prefixes: [prefix] }) },
  );
  const subscription = store.subscribeToPersistentSubscriptionToAll(group);
  const received = receive(subscription);
  const history = await received.takeResolved(2);
  await subscription.ack(...history);
  await store.appendToStream(`${prefix}-2`, newEvents(1));
  const [live] = await received.takeResolved(1);
  await subscription.ack(live);
  assert.deepEqual(
    [...history, live].map(({ event }) => [event.streamId, event.revision]),
    [
      [`${prefix}-1`, 0n],
      [`${prefix}-1`, 1n],
      [`${prefix}-2`, 0n],
    ],
  );
  const info = await store.getPersistentSubscriptionToAllInfo(group);
  assert.deepEqual([info.eventSource, info.settings.startFrom], ["$all", START]);
  await subscription.unsubscribe();
  await store.deletePersistentSubscriptionToAll(group);
});

test("discovers the node by gossip", WITHIN, async () => {
  const discovering = EventStoreDBClient.connectionString(uri.replace("esdb:", "esdb+discover:"));
  const { success } = await discovering.appendToStream(newStream(), newEvents(1));
  assert.ok(success);
  await discovering.dispose();
});

// Helpers ---------------------------------------------------------------------------------

function newStream() {
  return `Test:${randomUUID()}`;
}

function newType() {
  return `T${randomUUID().replaceAll("-", "")}`;
}

function newEvents(count, type = "Tested") {
  return Array.from({ length: count }, (_, n) => jsonEvent({ type, data: { n } }));
}

async function all(read) {
  const events = [];
  for await (const { event } of read) events.push(event);
  return events;
}

function revisions(events) {
  return events.map((event) => event.revision);
}

/** Takes the next events of a subscription, as many as each call asks for. */
function receive(subscription) {
  const iterator = subscription[Symbol.asyncIterator]();
  async function takeResolved(count) {
    const taken = [];
    while (taken.length < count) taken.push((await iterator.next()).value);
    return taken;
  }
  return {
    takeResolved,
    take: async (count) => (await takeResolved(count)).map(({ event }) => event),
  };
}

async function until(condition) {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** Checks an error's class and some of its properties. */
function is(errorClass, properties = {}) {
  return (error) => {
    assert.ok(error instanceof errorClass, `${error.constructor.name}: ${error.message}`);
    for (const [name, value] of Object.entries(properties)) assert.deepEqual(error[name], value);
    return true;
  };
}
