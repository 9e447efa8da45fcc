/** The call's page for tenants and SREs: a build of its own, since nobody but they get its program. */

import { defineConfig } from "vite";

export default defineConfig({
  base: "/calls/",
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: false,
    outDir: "../dist/calls",
    emptyOutDir: true,
    rolldownOptions: { input: { calls: "calls/index.html", "sign-in": "calls/sign-in.html" } },
  },
  // `npm run dev:calls` beside a token service on its usual port.
  server: { proxy: { "/api": "http://localhost:3000" } },
});
