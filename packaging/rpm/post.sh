systemd-sysusers strato.conf || :
systemd-tmpfiles --create strato.conf || :
if [ "$1" = 1 ]; then
    chown root:strato /etc/strato/strato.ini && chmod 0640 /etc/strato/strato.ini || :
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
    if [ "$1" = 1 ]; then
        systemctl preset strato.service || :
    elif systemctl --quiet is-active strato.service; then
        stratoctl restart all || systemctl restart strato.service || :
    fi
fi
