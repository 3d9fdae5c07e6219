//! How the controller and its capture agents are: there or away, clocks, drops, complaints.

import { useState } from 'preact/hooks'
import { api, type AgentStatus, type Made, type Me, type Problem } from '../api'
import { Badge, Copy, Dialog, Empty, Head, Scroll, Sure, Waiting, Wrong } from '../parts/basics'
import { ago, bytes, count, millis, quoted, span, utc, when } from '../format'
import { isConnected, useLoaded } from '../live'
import { link } from '../route'

export function AgentsPage({ me }: { me: Me }) {
  const [isInviting, invite] = useState(false)
  const { value, problem, again } = useLoaded(() => api.status(), [], ['status'], 5000)
  const agents = [...(value?.agents ?? [])].sort((one, other) => trouble(other) - trouble(one) || (one.host < other.host ? -1 : 1))
  const away = agents.filter((agent) => !isConnected(agent.state)).length
  const troubled = agents.filter((agent) => agent.problems.length > 0).length
  return (
    <>
      <Head title="Agents">{me.is_admin && <button type="button" onClick={() => invite(true)}>Invite agents</button>}</Head>
      {problem && <Wrong problem={problem} again={again} />}
      {!value && !problem && <Waiting what="the agents" />}
      {value && (
        <p class="sums">
          <span><b>{agents.length - away}</b> of <b>{agents.length}</b> connected</span>
          {away > 0 && <Badge tone="warn">{away} away</Badge>}
          {troubled > 0 && <Badge tone="warn">{troubled} with problems</Badge>}
          <span><b>{count(value.machines)}</b> machines</span>
          <span><b>{count(value.sessions)}</b> {value.sessions === 1 ? 'capture runs' : 'captures run'}</span>
          <span class="quiet-text">controller {value.version}, up {span((Date.now() - Date.parse(value.began)) / 1000)}, {bytes(value.resident_bytes)} of memory</span>
        </p>
      )}
      {value && agents.length === 0 && <Empty title="No agent is enrolled yet"><p><code>overtap agents invite</code> prints a token for hosts, <code>overtap agent enrol --token TOKEN</code> uses it there.</p></Empty>}
      {agents.length > 0 && (
        <Scroll label="Agents">
          <table class="dense stack">
            <thead><tr><th scope="col">Host</th><th scope="col">State</th><th scope="col" class="number">Machines</th><th scope="col" class="number">Captures</th><th scope="col" class="number">Lost</th><th scope="col" class="number">Clock ahead</th><th scope="col">Version</th><th scope="col">Problems</th>{me.is_admin && <th scope="col"><span class="unseen">Remove</span></th>}</tr></thead>
            <tbody>
              {agents.map((agent) => (
                <tr key={agent.id}>
                  <td><a href={link(['topology', agent.host])}><b>{agent.host}</b></a></td>
                  <td>{isConnected(agent.state) ? <Badge tone="good">connected</Badge> : <><Badge tone="warn">away</Badge> <span class="quiet-text">{agent.heard ? <span title={when(Date.parse(agent.heard))}>heard {ago(Date.parse(agent.heard))}</span> : 'never heard'}</span></>}</td>
                  <td class="number">{count(agent.machines)}</td>
                  <td class="number">{count(agent.parts)}</td>
                  <td class={agent.lost ? 'number bad-text' : 'number'}>{count(agent.lost)}</td>
                  <td class="number">{agent.clock ? <span class={Math.abs(agent.clock.ahead_ms) > 1 ? 'warn-text' : ''}>{millis(agent.clock.ahead_ms)} <span class="quiet-text">± {millis(agent.clock.uncertainty_ms)}</span></span> : '–'}</td>
                  <td>{agent.version}{value && agent.version !== value.version && <span class="quiet-text"> (controller {value.version})</span>}</td>
                  <td class="wrap">{agent.problems.join('; ') || '–'}</td>
                  {me.is_admin && <td><Sure label="Remove" question={`Remove the agent of ${agent.host}: its certificates are worth nothing from then on, and its captures end.`} act={async () => { await api.removeAgent(agent.id, ''); again() }} /></td>}
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      {isInviting && <Invite close={() => invite(false)} />}
    </>
  )
}

/** A token by which hosts become agents. */
function Invite({ close }: { close: () => void }) {
  const [address, setAddress] = useState(`${location.hostname}:7443`)
  const [uses, setUses] = useState(1)
  const [note, setNote] = useState('')
  const [made, set] = useState<Made | null>(null)
  const [problem, fail] = useState<Problem | null>(null)
  const submit = (event: Event) => {
    event.preventDefault()
    api.invite({ address: address.trim(), agent: null, uses, expires_at: utc(Date.now() + 86_400_000), note }).then(set, fail)
  }
  return (
    <Dialog title={made ? 'The invitation, shown this once' : 'Invite agents'} close={close}>
      {made ? (
        <>
          <p class="plain">On {uses === 1 ? 'the host' : `each of the ${uses} hosts`}, as root, within 24 hours:</p>
          <Copy label="The command that enrols a host" text={`overtap agent enrol --token ${quoted(made.token)}`} />
          <div class="acts"><button type="button" class="solid" onClick={close}>Done</button></div>
        </>
      ) : (
        <form onSubmit={submit}>
          {problem && <Wrong problem={problem} />}
          <div class="fields">
            <label class="grow">Where hosts reach the controller <input type="text" class="mono" required value={address} spellcheck={false} onInput={(event) => setAddress(event.currentTarget.value)} /></label>
            <label>Hosts <input type="number" min="1" max="1000" value={uses} onInput={(event) => setUses(Number(event.currentTarget.value))} /></label>
          </div>
          <label class="stacked">Note <input type="text" value={note} placeholder="rack 12" onInput={(event) => setNote(event.currentTarget.value)} /></label>
          <div class="acts"><button type="button" onClick={close}>Cancel</button><button type="submit" class="solid">Make the invitation</button></div>
        </form>
      )}
    </Dialog>
  )
}

/** What needs somebody comes first. */
const trouble = (agent: AgentStatus): number => (isConnected(agent.state) ? 0 : 4) + (agent.lost > 0 ? 2 : 0) + (agent.problems.length > 0 ? 1 : 0)
