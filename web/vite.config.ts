import { defineConfig } from "vite";

export default defineConfig({
  // livekit-client alone is over Vite's default limit for a chunk; it is most of the page.
  build: { target: "es2022", chunkSizeWarningLimit: 900, assetsInlineLimit: 0 },
  // `npm run dev` beside a token service on its usual port.
  server: { proxy: { "/api": "http://localhost:3000" } },
});
