/**
 * A page of LiveKit's hooks alone, put together as in its starter app (agent-starter-react), for tests: a stranger's
 * page, which is given the address of a token endpoint and knows nothing else of us.
 */

import {
  RoomAudioRenderer,
  SessionProvider,
  useAgent,
  useSession,
  useSessionContext,
  useSessionMessages,
  useVoiceAssistant,
} from "@livekit/components-react";
import { TokenSource } from "livekit-client";
import { type ReactElement, useEffect } from "react";
import { createRoot } from "react-dom/client";

const TOKENS = TokenSource.endpoint("/api/token");

function App(): ReactElement {
  const session = useSession(TOKENS);
  return (
    <SessionProvider session={session}>
      <Call />
      <RoomAudioRenderer />
    </SessionProvider>
  );
}

/** Tests read what the hooks tell from the attributes. */
function Call(): ReactElement {
  const { connectionState, end, isConnected, room, start } = useSessionContext();
  const agent = useAgent();
  const assistant = useVoiceAssistant();
  const { messages, send } = useSessionMessages();

  // The starter hangs up on an agent that has failed, and so it is over for its customer.
  useEffect(() => {
    if (isConnected && agent.state === "failed") void end();
  }, [agent.state, end, isConnected]);

  const say = (form: FormData): void => void send(String(form.get("text")));

  return (
    <main
      id="call"
      data-connection={connectionState}
      data-room={room.name}
      data-identity={room.localParticipant.identity}
      data-agent={agent.state}
      data-assistant={assistant.state}
    >
      <button onClick={() => void start()}>Start</button>
      <form action={say}>
        <input name="text" />
      </form>
      <ol>
        {messages.map(({ id, type, message }) => (
          <li key={id} data-type={type}>
            {message}
          </li>
        ))}
      </ol>
    </main>
  );
}

createRoot(document.body).render(<App />);
