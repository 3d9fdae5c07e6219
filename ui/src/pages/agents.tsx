//! How the controller and its capture agents are: there or away, clocks, drops, complaints.

import { api, type AgentStatus } from '../api'
import { Badge, Empty, Head, Scroll, Waiting, Wrong } from '../parts/basics'
import { ago, bytes, count, millis, span, when } from '../format'
import { isConnected, useLoaded } from '../live'
import { link } from '../route'

export function AgentsPage() {
  const { value, problem, again } = useLoaded(() => api.status(), [], ['status'], 5000)
  const agents = [...(value?.agents ?? [])].sort((one, other) => trouble(other) - trouble(one) || (one.host < other.host ? -1 : 1))
  const away = agents.filter((agent) => !isConnected(agent.state)).length
  const troubled = agents.filter((agent) => agent.problems.length > 0).length
  return (
    <>
      <Head title="Agents" />
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
      {value && agents.length === 0 && <Empty title="No agent is enrolled yet"><p>Make a token for agents with <code>overtap tokens add --agent</code>, then on the host: <code>overtap agent enrol TOKEN</code></p></Empty>}
      {agents.length > 0 && (
        <Scroll label="Agents">
          <table class="dense">
            <thead><tr><th scope="col">Host</th><th scope="col">State</th><th scope="col" class="number">Machines</th><th scope="col" class="number">Captures</th><th scope="col" class="number">Lost</th><th scope="col" class="number">Clock ahead</th><th scope="col">Version</th><th scope="col">Problems</th></tr></thead>
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
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </>
  )
}

/** What needs somebody comes first. */
const trouble = (agent: AgentStatus): number => (isConnected(agent.state) ? 0 : 4) + (agent.lost > 0 ? 2 : 0) + (agent.problems.length > 0 ? 1 : 0)
