//! Who may do what: grants, users and tokens. Everybody sees their own; administrators see all and
//! change them.

import { useState } from 'preact/hooks'
import { api, type Grant, type Made, type Me, type Problem } from '../api'
import { Badge, Copy, Dialog, Empty, Head, Scroll, Sure, Waiting, Wrong } from '../parts/basics'
import { span, utc, when } from '../format'
import { useLoaded } from '../live'
import { link } from '../route'

export function PeoplePage({ me, tab }: { me: Me; tab: string }) {
  const tabs = [['grants', 'Grants'], ['tokens', 'Tokens'], ...(me.is_admin ? [['users', 'Users']] : [])] as const
  return (
    <>
      <Head title="Access" />
      <nav class="tabs" aria-label="Kinds of access">
        {tabs.map(([word, name]) => <a key={word} href={link(['people', word!])} aria-current={tab === word ? 'page' : undefined}>{name}</a>)}
      </nav>
      {tab === 'users' ? <Users /> : tab === 'tokens' ? <Tokens me={me} /> : <Grants me={me} />}
    </>
  )
}

function Grants({ me }: { me: Me }) {
  const { value, problem, again } = useLoaded(() => api.grants(), [])
  const [isAdding, add] = useState(false)
  return (
    <section>
      <div class="section-head"><p class="quiet-text">Nobody sees a packet without a grant, administrators included.</p><span class="push" />{me.is_admin && <button type="button" class="solid" onClick={() => add(true)}>New grant</button>}</div>
      {problem && <Wrong problem={problem} again={again} />}
      {!value && !problem && <Waiting what="the grants" />}
      {value?.items.length === 0 && <Empty title={me.is_admin ? 'There is no grant yet' : 'You have no grant yet'}><p>{me.is_admin ? 'Make one, also for yourself; the audit log will say so.' : 'Ask an administrator for one; until then no machine is shown to you.'}</p></Empty>}
      {value && value.items.length > 0 && (
        <Scroll label="Grants">
          <table class="dense stack">
            <thead><tr><th scope="col">To</th><th scope="col">May</th><th scope="col">Of</th><th scope="col">Of each packet</th><th scope="col">At a time</th><th scope="col">Until</th><th scope="col">Note</th>{me.is_admin && <th scope="col"><span class="unseen">Remove</span></th>}</tr></thead>
            <tbody>
              {value.items.map((grant) => (
                <tr key={grant.id}>
                  <td><b>{grant.to}</b></td>
                  <td>{grant.purposes.join(', ')}{grant.needs_reason && <span class="quiet-text"> with a reason</span>}</td>
                  <td>{grant.machines.map((machine) => <span key={machine} class="tag mono">{machine}</span>)}</td>
                  <td>{String(grant.snaplen) === 'whole' ? 'all of it' : String(grant.snaplen) === 'headers' ? 'headers' : `${grant.snaplen} bytes`}</td>
                  <td>{grant.longest ? longest(grant) : 'any time'}</td>
                  <td>{grant.until ? when(Date.parse(grant.until)) : 'for good'}</td>
                  <td class="wrap quiet-text">{grant.note}</td>
                  {me.is_admin && <td><Sure label="Remove" question={`Remove the grant of ${grant.to} for ${grant.machines.join(', ')}. Captures that stand on it end at once.`} act={async () => { await api.removeGrant(grant.id); again() }} /></td>}
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      {isAdding && <AddGrant close={() => { add(false); again() }} />}
    </section>
  )
}

/** `PT4H` and `4h` as people say it. */
function longest(grant: Grant): string {
  const parts = /^PT?(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?$/i.exec(grant.longest ?? '')
  return parts ? span(Number(parts[1] ?? 0) * 3600 + Number(parts[2] ?? 0) * 60 + Number(parts[3] ?? 0)) : String(grant.longest)
}

function AddGrant({ close }: { close: () => void }) {
  const users = useLoaded(() => api.users(), [])
  const [to, setTo] = useState('')
  const [machines, setMachines] = useState('')
  const [purpose, setPurpose] = useState('capture')
  const [snaplen, setSnaplen] = useState('whole')
  const [days, setDays] = useState('')
  const [needsReason, setNeedsReason] = useState(false)
  const [note, setNote] = useState('')
  const [problem, fail] = useState<Problem | null>(null)
  const user = to || users.value?.items.find((user) => user.is_enabled)?.name || ''
  const submit = (event: Event) => {
    event.preventDefault()
    api.addGrant({
      to: user, machines: machines.split(/[\s,]+/).filter(Boolean), purposes: [purpose], snaplen,
      longest: null, from: null, until: days ? utc(Date.now() + Number(days) * 86_400_000) : null, needs_reason: needsReason, note,
    }).then(close, fail)
  }
  return (
    <Dialog title="New grant" close={close}>
      <form onSubmit={submit}>
        {problem && <Wrong problem={problem} />}
        <div class="fields">
          <label>To <select value={user} onChange={(event) => setTo(event.currentTarget.value)}>{users.value?.items.map((user) => <option key={user.name}>{user.name}</option>)}</select></label>
          <label>May <select value={purpose} onChange={(event) => setPurpose(event.currentTarget.value)}><option>capture</option><option>find</option><option>record</option><option>mirror</option></select></label>
          <label>Of each packet <select value={snaplen} onChange={(event) => setSnaplen(event.currentTarget.value)}><option value="whole">all of it</option><option value="headers">headers</option></select></label>
          <label>For days <input type="number" min="1" max="3650" value={days} placeholder="for good" onInput={(event) => setDays(event.currentTarget.value)} /></label>
        </div>
        <label class="stacked"><span>Machines <span class="quiet-text">tenant:acme, vm:web-*, vm:acme/web-*, id:uuid:…, all</span></span>
          <input type="text" class="mono" required value={machines} spellcheck={false} placeholder="tenant:acme" onInput={(event) => setMachines(event.currentTarget.value)} />
        </label>
        <label class="stacked">Note <input type="text" value={note} onInput={(event) => setNote(event.currentTarget.value)} /></label>
        <label class="check"><input type="checkbox" checked={needsReason} onChange={(event) => setNeedsReason(event.currentTarget.checked)} /> A reason must be given each time</label>
        <div class="acts"><button type="button" onClick={close}>Cancel</button><button type="submit" class="solid" disabled={!user || !machines.trim()}>Make the grant</button></div>
      </form>
    </Dialog>
  )
}

function Tokens({ me }: { me: Me }) {
  const { value, problem, again } = useLoaded(() => api.tokens(), [])
  const [isAdding, add] = useState(false)
  return (
    <section>
      <div class="section-head"><p class="quiet-text">A token is shown once, when it is made; here only its id is known.</p><span class="push" />{me.is_admin && <button type="button" class="solid" onClick={() => add(true)}>New token</button>}</div>
      {problem && <Wrong problem={problem} again={again} />}
      {!value && !problem && <Waiting what="the tokens" />}
      {value?.items.length === 0 && <Empty title="There is no token" />}
      {value && value.items.length > 0 && (
        <Scroll label="Tokens">
          <table class="dense stack">
            <thead><tr><th scope="col">Id</th><th scope="col">Lets in</th><th scope="col">Good until</th><th scope="col">Made</th><th scope="col">Note</th><th scope="col"><span class="unseen">Remove</span></th></tr></thead>
            <tbody>
              {value.items.map((token) => (
                <tr key={token.id}>
                  <td class="mono">{token.id}</td>
                  <td>{token.kind === 'user' ? <b>{token.user}</b> : <>{token.agent ? `agent ${token.agent}` : 'agents'} <span class="quiet-text">{token.uses_left} left</span></>}</td>
                  <td>{token.expires_at ? <>{when(Date.parse(token.expires_at))}{Date.parse(token.expires_at) < Date.now() && <> <Badge tone="warn">over</Badge></>}</> : 'for good'}</td>
                  <td>{when(Date.parse(token.made_at))} <span class="quiet-text">by {token.made_by}</span></td>
                  <td class="wrap quiet-text">{token.note}</td>
                  <td><Sure label="Remove" question={`Remove the token ${token.id}. Whoever uses it is let in no more.`} act={async () => { await api.removeToken(token.id); again() }} /></td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      {isAdding && <AddToken close={() => { add(false); again() }} />}
    </section>
  )
}

function AddToken({ close }: { close: () => void }) {
  const users = useLoaded(() => api.users(), [])
  const [to, setTo] = useState('')
  const [days, setDays] = useState('90')
  const [note, setNote] = useState('')
  const [made, set] = useState<Made | null>(null)
  const [problem, fail] = useState<Problem | null>(null)
  const user = to || users.value?.items.find((user) => user.is_enabled)?.name || ''
  const submit = (event: Event) => {
    event.preventDefault()
    api.addToken({ user, expires_at: days ? utc(Date.now() + Number(days) * 86_400_000) : null, note }).then(set, fail)
  }
  return (
    <Dialog title={made ? 'The token, shown this once' : 'New token'} close={close}>
      {made ? (
        <>
          <p class="plain">Give it to {user} by a safe way. It is not kept here and cannot be shown again.</p>
          <Copy label="The token" text={made.token} />
          <div class="acts"><button type="button" class="solid" onClick={close}>Done</button></div>
        </>
      ) : (
        <form onSubmit={submit}>
          {problem && <Wrong problem={problem} />}
          <div class="fields">
            <label>For <select value={user} onChange={(event) => setTo(event.currentTarget.value)}>{users.value?.items.map((user) => <option key={user.name}>{user.name}</option>)}</select></label>
            <label>Good for days <input type="number" min="1" max="3650" value={days} placeholder="for good" onInput={(event) => setDays(event.currentTarget.value)} /></label>
          </div>
          <label class="stacked">Where it will be used <input type="text" value={note} placeholder="laptop" onInput={(event) => setNote(event.currentTarget.value)} /></label>
          <div class="acts"><button type="button" onClick={close}>Cancel</button><button type="submit" class="solid" disabled={!user}>Make the token</button></div>
        </form>
      )}
    </Dialog>
  )
}

function Users() {
  const { value, problem, again } = useLoaded(() => api.users(), [])
  const [failed, fail] = useState<Problem | null>(null)
  const [isAdding, add] = useState(false)
  const change = (name: string, to: { role?: string; is_enabled?: boolean }) => api.changeUser(name, to).then(() => { fail(null); again() }, (problem: Problem) => { fail(problem); again() })
  return (
    <section>
      <div class="section-head"><p class="quiet-text">Users are disabled, not removed, so that the audit log keeps meaning somebody.</p><span class="push" /><button type="button" class="solid" onClick={() => add(true)}>New user</button></div>
      {problem && <Wrong problem={problem} again={again} />}
      {failed && <Wrong problem={failed} />}
      {!value && !problem && <Waiting what="the users" />}
      {value && value.items.length > 0 && (
        <Scroll label="Users">
          <table class="dense stack">
            <thead><tr><th scope="col">User</th><th scope="col">Role</th><th scope="col">State</th><th scope="col" class="number">Tokens</th><th scope="col" class="number">Grants</th><th scope="col">Note</th><th scope="col"><span class="unseen">Change</span></th></tr></thead>
            <tbody>
              {value.items.map((user) => (
                <tr key={user.name}>
                  <td><b>{user.name}</b></td>
                  <td><select aria-label={`Role of ${user.name}`} value={user.role} onChange={(event) => change(user.name, { role: event.currentTarget.value })}><option>viewer</option><option>operator</option><option>admin</option></select></td>
                  <td>{user.is_enabled ? <Badge tone="good">enabled</Badge> : <Badge tone="quiet">disabled</Badge>}</td>
                  <td class="number">{user.tokens}</td>
                  <td class="number">{user.grants}</td>
                  <td class="wrap quiet-text">{user.note}</td>
                  <td>{user.is_enabled
                    ? <Sure label="Disable" question={`Disable ${user.name}: their captures end at once, and none of their tokens opens anything.`} act={() => change(user.name, { is_enabled: false })} />
                    : <button type="button" class="quiet" onClick={() => change(user.name, { is_enabled: true })}>Enable</button>}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      {isAdding && <AddUser close={() => { add(false); again() }} />}
    </section>
  )
}

function AddUser({ close }: { close: () => void }) {
  const [name, setName] = useState('')
  const [role, setRole] = useState('operator')
  const [note, setNote] = useState('')
  const [problem, fail] = useState<Problem | null>(null)
  const submit = (event: Event) => {
    event.preventDefault()
    api.addUser({ name: name.trim(), role, note }).then(close, fail)
  }
  return (
    <Dialog title="New user" close={close}>
      <form onSubmit={submit}>
        {problem && <Wrong problem={problem} />}
        <div class="fields">
          <label>Name <input type="text" required value={name} autocomplete="off" spellcheck={false} onInput={(event) => setName(event.currentTarget.value)} /></label>
          <label>Role <select value={role} onChange={(event) => setRole(event.currentTarget.value)}><option>viewer</option><option>operator</option><option>admin</option></select></label>
        </div>
        <label class="stacked">Note <input type="text" value={note} placeholder="whose it is" onInput={(event) => setNote(event.currentTarget.value)} /></label>
        <p class="plain quiet-text">It has no token and no grant yet.</p>
        <div class="acts"><button type="button" onClick={close}>Cancel</button><button type="submit" class="solid" disabled={!name.trim()}>Make the user</button></div>
      </form>
    </Dialog>
  )
}
