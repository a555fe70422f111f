// Starts the emulator so that it finds an entity by its keys, as the service does. Left alone it looks through the
// entity's partition, twice for each write, and gets slower with every row. For --inMemoryPersistence: what a file
// held would not be found.
'use strict'
const load = require('node:module').createRequire(`${process.env.AZURITE_HOME}/`)
const { Collection } = load('lokijs')

const { findOne, insertOne, remove } = Collection.prototype
if (!findOne || !insertOne || !remove) throw new Error('keyed.cjs: another version of lokijs?')
const kept = new WeakMap()
const entities = (collection) => {
  if (!kept.has(collection)) kept.set(collection, new Map())
  return kept.get(collection)
}
const keys = ({ PartitionKey, RowKey }) => JSON.stringify([PartitionKey, RowKey])

Collection.prototype.insertOne = function (doc, ...rest) {
  const inserted = insertOne.call(this, doc, ...rest)
  if (inserted?.RowKey !== undefined) entities(this).set(keys(inserted), inserted)
  return inserted
}
Collection.prototype.remove = function (doc, ...rest) {
  if (doc?.RowKey !== undefined) entities(this).delete(keys(doc))
  return remove.call(this, doc, ...rest)
}
Collection.prototype.findOne = function (query) {
  const isByKeys = query?.RowKey !== undefined && Object.keys(query).length === 2
  return isByKeys ? entities(this).get(keys(query)) ?? null : findOne.call(this, query)
}
load('azurite/dist/src/table/main')
