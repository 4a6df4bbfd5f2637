// The same two workflows for Restate: nine calls of a local service, and nine steps that only compute.
import * as restate from "@restatedev/restate-sdk";

// The SDK wants Node 22; this is all that Node 20 lacks.
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new this((a, b) => ([resolve, reject] = [a, b]));
  return { promise, resolve, reject };
};

const [port, step] = process.argv.slice(2);
const nine = restate.service({
  name: "nine",
  handlers: {
    http: async (ctx) => {
      let last;
      for (let i = 0; i < 9; i++) last = await ctx.run(`s${i}`, async () => await (await fetch(step)).text());
      return last;
    },
    pure: async (ctx) => {
      let n = 0;
      for (let i = 0; i < 9; i++) n = await ctx.run(`s${i}`, () => n + 1);
      return n;
    },
  },
});
await restate.serve({ services: [nine], port: Number(port) });
console.log("ready");
