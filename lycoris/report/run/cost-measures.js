// What an adapter costs: how each cost is read from an adapter, and how it is written.
const seconds = (value) => (value >= 600 ? `${number(value / 60, 1)} min` : `${number(value, value < 10 ? 2 : 1)} s`);
const count = (value) => (value >= 1e6 ? `${number(value / 1e6, 2)} M` : value >= 1e3 ? `${number(value / 1e3, 1)} k` : String(Math.round(value)));
const COSTS = [
  { name: "training time", of: (adapter) => adapter.seconds?.train, text: seconds, digits: 1 },
  { name: "time per image", of: (adapter) => (adapter.imageCount && adapter.seconds?.draw !== undefined
    ? adapter.seconds.draw / adapter.imageCount : undefined), text: seconds, digits: 3 },
  { name: "file size", of: (adapter) => adapter.bytes, text: bytes, digits: 0 },
  { name: "parameters", of: (adapter) => adapter.parameters, text: count, digits: 0 },
];
